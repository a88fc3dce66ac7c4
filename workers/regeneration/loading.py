"""Engines from checkpoint files whose hashes the registry has verified."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Unpack

from safetensors.torch import load_file

from workers.regeneration.codecs import Codec, load_codec
from workers.regeneration.engine import Engine, EngineOptions
from workers.regeneration.model import ConditionedMusicgen, load_generator


def load_adapted_engine(
    base_files: Mapping[str, Path],
    adapter_files: Mapping[str, Path],
    codec_files: Mapping[str, Path],
    **options: Unpack[EngineOptions],
) -> Engine:
    """Open an adapter on its base with the base's codec; the base itself is left as it is.

    Raises:
        KeyError, TypeError, ValueError, RuntimeError: as :func:`load_engine`, or the adapter does
            not fit.
    """
    # Imported on first use: most workers play no adapter.
    from workers.regeneration.adapter import adapted

    generator = adapted(open_generator(base_files), adapter_files)
    return Engine(generator, open_codec(codec_files), **options)


def load_engine(
    generator_files: Mapping[str, Path],
    codec_files: Mapping[str, Path],
    **options: Unpack[EngineOptions],
) -> Engine:
    """Open a generator with its codec.

    Args:
        generator_files: paths of ``model.safetensors`` and ``config.json``, by name.
        codec_files: the same of the codec that the generator's config names.
        options: as of :class:`Engine`.

    Raises:
        KeyError, TypeError, ValueError: a file is missing, a config is not ours, or they do
            not fit.
        RuntimeError: weights do not fit their config.
    """
    return Engine(open_generator(generator_files), open_codec(codec_files), **options)


def open_generator(files: Mapping[str, Path]) -> ConditionedMusicgen:
    """The generator of a checkpoint's files; raises as :func:`load_engine` does."""
    config = json.loads(files["config.json"].read_text())
    return load_generator(config, load_file(files["model.safetensors"]))


def open_codec(files: Mapping[str, Path]) -> Codec:
    """The codec of a checkpoint's files; raises as :func:`load_engine` does."""
    config = json.loads(files["config.json"].read_text())
    return load_codec(config, load_file(files["model.safetensors"]))
