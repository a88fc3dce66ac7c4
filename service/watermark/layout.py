"""Where the watermark lies: keyed cells of time and frequency, and the payload's bits in them.

The spectrum from 350 Hz to 9 kHz is cut into bands, time into cells of 46 ms; 64 cells of time are
one period of three seconds, which repeats. In every cell the level is raised or lowered a little:
by a sign that the key decides, turned around where the coded bit that the cell carries is 0. A
quarter of the cells carry no bit, so that a detector finds the period before it knows any.
"""

import hashlib
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.watermark.code import CODED_BITS

METHOD: Final = "org.reprise.watermark.1"
"""Names method and version; a change of any constant here, in `code` or `spectrum` is another."""

RATE: Final = 22_050
WINDOW: Final = 1024
HOP: Final = 256
FRAMES_PER_CELL: Final = 4
CELLS: Final = 64
"""Of time, in a period."""
CELL_SECONDS: Final = FRAMES_PER_CELL * HOP / RATE
PERIOD_SECONDS: Final = CELLS * CELL_SECONDS

_LOWEST, _HIGHEST = 350.0, 9000.0
_NARROWEST_HZ, _BANDS_PER_HZ = 86.0, 20.0
_FOUND_WITHOUT_BITS: Final = 0.25
SYNC: Final = -1


def _edges() -> NDArray[np.float64]:
    edges = [_LOWEST]
    while edges[-1] < _HIGHEST:
        edges.append(edges[-1] + max(_NARROWEST_HZ, edges[-1] / _BANDS_PER_HZ))
    return np.array(edges)


EDGES: Final = _edges()
"""Of the bands in Hz, one more than there are bands."""
BANDS: Final = len(EDGES) - 1


class Pattern:
    """What a key decides: the sign of every cell of a period, and the coded bit it carries.

    `signs` is float32 [bands, cells] of ±1; `bits` is [bands, cells], the number of a coded bit or
    `SYNC`.
    """

    def __init__(self, key: bytes) -> None:
        count = BANDS * CELLS
        # An extendable hash, not a library's generator: the pattern must be the same for ever.
        drawn = np.frombuffer(
            hashlib.shake_256(METHOD.encode() + b"\0" + key).digest(9 * count), dtype=np.uint8
        )
        self.signs = (drawn[:count] & 1).astype(np.float32).reshape(BANDS, CELLS) * 2 - 1
        order = np.argsort(drawn[count:].view("<u8"), kind="stable")
        bits = np.full(count, SYNC)
        carrying = order[round(_FOUND_WITHOUT_BITS * count) :]
        bits[carrying] = np.arange(len(carrying)) % CODED_BITS
        self.bits = bits.reshape(BANDS, CELLS)
        self.sync = np.where(self.bits == SYNC, self.signs, np.float32(0))

    def word(self, coded: NDArray[np.int8]) -> NDArray[np.float32]:
        """The signs [bands, cells] of a period that carries these coded bits (0 or 1)."""
        turned = np.append(coded.astype(np.float32) * 2 - 1, np.float32(1))
        return self.signs * turned[self.bits]


@lru_cache(maxsize=8)
def pattern(key: bytes) -> Pattern:
    """The pattern of a key (any bytes; 16 or more from a secret source)."""
    return Pattern(key)
