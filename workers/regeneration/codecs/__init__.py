"""Stem codecs: one interface, a codec for drums and one for bass."""

from .bass import BassCodec, BassCodecConfig
from .digest import code_digest
from .drums import DrumCodec, DrumCodecConfig
from .interface import Codec, CodecError
from .loading import load_codec

__all__ = [
    "BassCodec",
    "BassCodecConfig",
    "Codec",
    "CodecError",
    "DrumCodec",
    "DrumCodecConfig",
    "code_digest",
    "load_codec",
]
