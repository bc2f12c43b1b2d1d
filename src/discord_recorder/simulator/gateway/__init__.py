"""The main gateway, v10: sessions and what they are told (`hub`, without I/O), and the websockets (`connection`)."""
