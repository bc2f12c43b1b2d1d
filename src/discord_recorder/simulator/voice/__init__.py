"""The voice side of the simulated Discord: gateway v8, forwarding of audio, DAVE delivery service, faults, speakers."""
