"""libopus itself, the library that PyAV's wheels bring, without PyAV: what FFmpeg's interface to it leaves out.

FFmpeg neither conceals a loss of any length nor decodes the copy of a lost frame that the next packet may hold (in-band
FEC, LBRR). Both are one argument of `opus_decode`.

Loading takes 1 ms and 0.4 MB. ctypes lets go of the GIL during each call.

Sources: opus.h of libopus 1.6 (`opus_decode`, `opus_decoder_ctl`, and since 1.5 `opus_packet_has_lbrr`), RFC 6716
(section 2.1.7, FEC; section 4.4, concealment).
"""

import weakref
from collections.abc import Iterator
from ctypes import CDLL, POINTER, Array, byref, c_char_p, c_int, c_int16, c_int32, c_void_p, string_at
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from discord_recorder.audio.opus import MAX_PACKET_SAMPLES, frame_samples
from discord_recorder.audio.pcm import CHANNELS, SAMPLE_BYTES, SAMPLE_RATE
from discord_recorder.errors import OpusError

_PLACES: Final = (
    ("av.libs", ("libopus[-.]*.so*", "opus[-.]*.dll", "libopus[-.]*.dll")),
    ("av/.dylibs", ("libopus[.]*.dylib",)),
)
"""Where wheels keep what they bring, beside the package `av`: Linux and Windows, macOS."""

_OK: Final = 0
_RESET_STATE: Final = 4028
_IS_FEC: Final = 1


@cache
def load() -> CDLL | None:
    """The library of PyAV's wheel; None where PyAV was built otherwise."""
    for path in _candidates():
        try:
            return _declared(CDLL(str(path)))
        except (OSError, AttributeError):  # of another platform, or no libopus
            continue
    return None


def _candidates() -> Iterator[Path]:
    spec = find_spec("av")
    for package in (spec and spec.submodule_search_locations) or ():
        for folder, patterns in _PLACES:
            for pattern in patterns:
                yield from sorted((Path(package).parent / folder).glob(pattern))


def _declared(library: CDLL) -> CDLL:
    """Tell ctypes what the functions take and give; raises `AttributeError` where one is missing."""
    library.opus_decoder_create.argtypes = [c_int32, c_int, POINTER(c_int)]
    library.opus_decoder_create.restype = c_void_p
    library.opus_decoder_destroy.argtypes = [c_void_p]
    library.opus_decoder_destroy.restype = None
    library.opus_decoder_ctl.argtypes = [c_void_p, c_int]
    library.opus_decoder_ctl.restype = c_int
    library.opus_decode.argtypes = [c_void_p, c_char_p, c_int32, POINTER(c_int16), c_int, c_int]
    library.opus_decode.restype = c_int
    if hasattr(library, "opus_packet_has_lbrr"):
        library.opus_packet_has_lbrr.argtypes = [c_char_p, c_int32]
        library.opus_packet_has_lbrr.restype = c_int
    library.opus_strerror.argtypes = [c_int]
    library.opus_strerror.restype = c_char_p
    return library


class LibopusCodec:
    """One decoder of libopus, to stereo; an `OpusCodec`. Not for two threads at once.

    Measured: 0.1 ms to make one.

    Args:
        library: what `load` gave.

    Raises:
        OpusError: there is no memory for it.
    """

    def __init__(self, library: CDLL) -> None:
        self._library = library
        self._has_lbrr = getattr(library, "opus_packet_has_lbrr", None)
        self._pcm: Array[c_int16] = (c_int16 * (MAX_PACKET_SAMPLES * CHANNELS))()
        error = c_int(_OK)
        self._state = library.opus_decoder_create(SAMPLE_RATE, CHANNELS, byref(error))
        if not self._state:
            raise OpusError(f"libopus makes no decoder: {self._reason(error.value)}")
        weakref.finalize(self, library.opus_decoder_destroy, self._state)

    def decode(self, opus: bytes) -> bytes | None:
        """A packet's PCM; None when libopus refuses the packet."""
        return self._decoded(opus, MAX_PACKET_SAMPLES) if opus else None  # libopus would conceal

    def conceal(self, samples: int) -> bytes:
        """What is to be played for so many samples of which nothing came; silence where nothing came before."""
        pieces = []
        while samples > 0:
            pieces.append(self._needed(None, min(samples, MAX_PACKET_SAMPLES)))
            samples -= MAX_PACKET_SAMPLES
        return b"".join(pieces)

    def has_copy(self, opus: bytes) -> bool:
        """Whether a packet holds a copy of the frame before it; never, where libopus is older than 1.5."""
        return self._has_lbrr is not None and self._has_lbrr(opus, len(opus)) > 0

    def recover(self, opus: bytes) -> bytes:
        """The frame before a packet, from the copy that it holds; as `conceal`, where it holds none."""
        return self._needed(opus, frame_samples(opus), _IS_FEC)

    def reset(self) -> None:
        """Forget all that was decoded."""
        error = self._library.opus_decoder_ctl(self._state, _RESET_STATE)
        if error != _OK:
            raise OpusError(f"libopus does not reset a decoder: {self._reason(error)}")

    def _needed(self, opus: bytes | None, samples: int, is_fec: int = 0) -> bytes:
        """As long as asked, in silence if need be."""
        return self._decoded(opus, samples, is_fec) or bytes(samples * SAMPLE_BYTES)

    def _decoded(self, opus: bytes | None, samples: int, is_fec: int = 0) -> bytes | None:
        size = len(opus) if opus is not None else 0
        count: int = self._library.opus_decode(self._state, opus, size, self._pcm, samples, is_fec)
        return string_at(self._pcm, count * SAMPLE_BYTES) if count > 0 else None

    def _reason(self, error: int) -> str:
        text: bytes = self._library.opus_strerror(error)
        return text.decode()
