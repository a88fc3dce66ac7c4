"""One marked piece for all that only look at it."""

from functools import lru_cache

import numpy as np
import pytest
from numpy.typing import NDArray

from service.watermark.embedding import embed
from tests.watermark_music import RATE, music

KEY = bytes(range(32))
PAYLOAD = 0x5EED_0F_A_50_46


@lru_cache(maxsize=1)
def _pair() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    before = music(12.0)
    return before, embed(before, RATE, PAYLOAD, KEY)


@pytest.fixture
def unmarked() -> NDArray[np.float32]:
    return _pair()[0]


@pytest.fixture
def marked() -> NDArray[np.float32]:
    return _pair()[1]
