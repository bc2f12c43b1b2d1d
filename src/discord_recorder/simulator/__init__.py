"""A Discord on loopback to run against: real bots and real voice clients take it for the real one."""
