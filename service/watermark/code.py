"""The payload's error correction: 48 bits, a CRC-16, and a tail-biting convolutional code.

The code has rate 1/4 and constraint length 9 (generators 463, 535, 733, 745 octal; free distance
24). It starts in the state it ends in, so that no bit is spent on an end and every place of the
period is protected alike. Decoding is Viterbi's with soft values, three times around the circle.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

PAYLOAD_BITS: Final = 48
_CRC_BITS: Final = 16
_BITS: Final = PAYLOAD_BITS + _CRC_BITS
_MEMORY: Final = 8
_GENERATORS: Final = (0o463, 0o535, 0o733, 0o745)
CODED_BITS: Final = _BITS * len(_GENERATORS)
_STATES: Final = 1 << _MEMORY


def _crc(payload: int) -> int:
    """CRC-16/CCITT-FALSE of the payload's six bytes."""
    crc = 0xFFFF
    for byte in payload.to_bytes(PAYLOAD_BITS // 8, "big"):
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x1021 if crc & 0x8000 else 0)) & 0xFFFF
    return crc


# Output of each register content (state and new bit) under each generator: ±1.
_OUTPUT: Final = np.array(
    [
        [1.0 if (register & generator).bit_count() & 1 else -1.0 for generator in _GENERATORS]
        for register in range(2 * _STATES)
    ],
    dtype=np.float32,
)


def encode(payload: int) -> NDArray[np.int8]:
    """The coded bits (0 or 1) [256] of a payload of 48 bits.

    :raises ValueError: the payload is negative or has more bits.
    """
    if not 0 <= payload < 1 << PAYLOAD_BITS:
        raise ValueError(f"the payload has {PAYLOAD_BITS} bits")
    word = payload << _CRC_BITS | _crc(payload)
    bits = [word >> (_BITS - 1 - place) & 1 for place in range(_BITS)]
    coded = []
    register = 0
    for bit in (*bits[-_MEMORY:], *bits):
        register = (register << 1 | bit) & (2 * _STATES - 1)
        coded.append((_OUTPUT[register] > 0).astype(np.int8))
    return np.concatenate(coded[_MEMORY:])


def decode(soft: NDArray[np.float32]) -> list[int | None]:
    """The payloads that fit the soft values best, or None where the CRC fails.

    :param soft: [candidates, 256], positive where a bit is 1, larger where that is surer.
    """
    branches = soft.reshape(len(soft), _BITS, len(_GENERATORS)) @ _OUTPUT.T
    metric = np.zeros((len(soft), _STATES), dtype=np.float32)
    chosen = np.empty((3 * _BITS, len(soft), _STATES), dtype=bool)
    half = _STATES // 2
    for step in range(3 * _BITS):
        branch = branches[:, step % _BITS]
        # State n comes from n >> 1 or from n >> 1 with the oldest bit set.
        low = np.repeat(metric[:, :half], 2, axis=1) + branch[:, :_STATES]
        high = np.repeat(metric[:, half:], 2, axis=1) + branch[:, _STATES:]
        chosen[step] = high > low
        metric = np.maximum(low, high)
    return [_traced(chosen[:, row], int(metric[row].argmax())) for row in range(len(soft))]


def _traced(chosen: NDArray[np.bool_], state: int) -> int | None:
    word = 0
    for step in range(3 * _BITS - 1, _BITS - 1, -1):
        if step < 2 * _BITS:
            word |= (state & 1) << (2 * _BITS - 1 - step)
        state = state >> 1 | (_STATES // 2 if chosen[step, state] else 0)
    payload = word >> _CRC_BITS
    return payload if _crc(payload) == word & ((1 << _CRC_BITS) - 1) else None
