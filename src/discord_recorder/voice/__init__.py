"""Discord voice in, Opus frames out: sans-I/O cores under one asyncio shell."""
