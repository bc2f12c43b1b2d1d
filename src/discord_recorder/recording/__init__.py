"""The domain: sessions, chunks, transcodes, assembly, promotion, recovery, retention."""
