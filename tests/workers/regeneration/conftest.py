"""Makes this folder's shared builders importable under pytest's importlib mode."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from generator_fixtures import ClickCodec, tiny_generator

from workers.regeneration.engine import Engine


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(tiny_generator(), ClickCodec())
    yield engine
    engine.close()
