"""Where the mark lies: the key's own pattern, the same for ever."""

import hashlib

import numpy as np

from service.watermark import code
from service.watermark.layout import BANDS, CELLS, EDGES, METHOD, SYNC, pattern
from tests.service.watermark.conftest import KEY


def test_the_pattern_is_that_of_version_1() -> None:
    marks = pattern(KEY)
    told = np.packbits(marks.signs > 0).tobytes() + marks.bits.astype("<i4").tobytes()
    told += np.round(EDGES * 1000).astype("<i8").tobytes()
    assert METHOD == "org.reprise.watermark.1"
    assert hashlib.sha256(told).hexdigest()[:32] == "34b0ed649acc073d970bb5906af6003b"


def test_every_coded_bit_has_its_cells_and_a_quarter_has_none() -> None:
    bits = pattern(KEY).bits
    counts = np.bincount(bits[bits != SYNC], minlength=code.CODED_BITS)
    assert counts.min() >= 9
    assert abs((bits == SYNC).mean() - 0.25) < 0.01


def test_patterns_of_two_keys_have_nothing_in_common() -> None:
    first, second = pattern(KEY).signs, pattern(KEY[::-1]).signs
    # Of as many fair coins, 3,200, four standard deviations.
    assert abs(float((first * second).sum())) < 4 * (BANDS * CELLS) ** 0.5


def test_a_word_turns_the_cells_of_its_bits_alone() -> None:
    marks = pattern(KEY)
    coded = np.zeros(code.CODED_BITS, dtype=np.int8)
    other = coded.copy()
    other[17] = 1
    assert np.array_equal(marks.word(coded) != marks.word(other), marks.bits == 17)
