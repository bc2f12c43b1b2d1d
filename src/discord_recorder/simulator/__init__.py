"""A Discord on loopback to run against. Nothing is here yet."""
