"""Transport compression: all of a connection's messages are one stream, flushed after each."""

import importlib
import zlib
from collections.abc import Callable
from typing import Any, Final

Compress = Callable[[bytes], bytes]

_ZSTD_MODULES: Final = ("compression.zstd", "zstandard")
"""Python 3.14's own, and the package that clients use before it."""


def compressor(kind: str) -> Compress | None:
    """What compresses a connection's messages; None when the client asked for no, or for an unknown, compression."""
    if kind == "zlib-stream":
        return _zlib()
    return _zstd() if kind == "zstd-stream" else None


def _zlib() -> Compress:
    stream = zlib.compressobj()
    return lambda data: stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)


def _zstd() -> Compress | None:
    for name in _ZSTD_MODULES:
        try:
            module: Any = importlib.import_module(name)
        except ImportError:
            continue
        stream = module.ZstdCompressor()
        if name == "zstandard":
            stream = stream.compressobj()
            return lambda data: bytes(stream.compress(data) + stream.flush(module.COMPRESSOBJ_FLUSH_BLOCK))
        return lambda data: bytes(stream.compress(data, stream.FLUSH_BLOCK))
    return None
