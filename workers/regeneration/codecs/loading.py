"""Builds a codec from its checkpoint."""

from dataclasses import fields
from typing import Any

from torch import Tensor

from .bass import BassCodec, BassCodecConfig
from .drums import DrumCodec, DrumCodecConfig
from .interface import Codec, CodecError


def load_codec(config: dict[str, Any], state: dict[str, Tensor]) -> Codec:
    """Build the codec that `config` describes and give it `state`.

    Args:
        config: what `Codec.config` returned, as read from config.json. Keys it does not know are
            ignored.
        state: tensors by name, of any float type; the codec computes in float32.

    Raises:
        CodecError: an unknown kind of codec, or tensors that do not fit it.
    """
    kind = config.get("codec")
    codec: Codec
    if kind == "drums":
        codec = DrumCodec(DrumCodecConfig(**_known(config, DrumCodecConfig)))
    elif kind == "bass":
        codec = BassCodec(BassCodecConfig(**_known(config, BassCodecConfig)))
    else:
        raise CodecError(f"unknown codec {kind!r}: expected 'drums' or 'bass'")
    try:
        codec.load_state_dict({k: v.float() for k, v in state.items()})
    except RuntimeError as error:
        raise CodecError(f"the weights do not fit the {kind} codec: {error}") from error
    return codec.eval()


def _known(
    config: dict[str, Any], sizes: type[DrumCodecConfig] | type[BassCodecConfig]
) -> dict[str, Any]:
    names = {field.name for field in fields(sizes)}
    return {key: value for key, value in config.items() if key in names}
