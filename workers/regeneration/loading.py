"""Engines from checkpoint files whose hashes the registry has verified."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file

from workers.regeneration.codecs import load_codec
from workers.regeneration.engine import Engine
from workers.regeneration.model import load_generator


def load_engine(generator_files: Mapping[str, Path], codec_files: Mapping[str, Path]) -> Engine:
    """Open a generator with its codec.

    Args:
        generator_files: paths of ``model.safetensors`` and ``config.json``, by name.
        codec_files: the same of the codec that the generator's config names.

    Raises:
        KeyError, TypeError, ValueError: a file is missing, a config is not ours, or they do
            not fit.
        RuntimeError: weights do not fit their config.
    """
    generator = load_generator(
        json.loads(generator_files["config.json"].read_text()),
        load_file(generator_files["model.safetensors"]),
    )
    codec = load_codec(
        json.loads(codec_files["config.json"].read_text()),
        load_file(codec_files["model.safetensors"]),
    )
    return Engine(generator, codec)
