"""The payload's code: what it corrects, what it refuses, and that it stays what it is."""

import hashlib

import numpy as np
import pytest

from service.watermark import code

RNG = np.random.default_rng(1)
PAYLOADS = [0, 1, (1 << 48) - 1, 0x123456789ABC, *(int(n) for n in RNG.integers(0, 1 << 48, 12))]


def _soft(payload: int) -> np.ndarray:
    return code.encode(payload).astype(np.float32) * 2 - 1


def test_what_was_encoded_is_decoded() -> None:
    assert code.decode(np.stack([_soft(payload) for payload in PAYLOADS])) == PAYLOADS


def test_one_bit_in_seven_may_arrive_wrong() -> None:
    rng = np.random.default_rng(2)
    received = np.stack([_soft(payload) for payload in PAYLOADS])
    for row in received:
        row[rng.permutation(code.CODED_BITS)[: code.CODED_BITS // 7]] *= -1
    assert code.decode(received) == PAYLOADS


def test_the_circle_may_be_entered_anywhere() -> None:
    # A burst is as bad at the seam, where the register starts, as elsewhere.
    received = np.stack([_soft(payload) for payload in PAYLOADS])
    received[:, :10] = 0
    received[:, -10:] = 0
    assert code.decode(received) == PAYLOADS


def test_noise_passes_no_check() -> None:
    noise = np.random.default_rng(3).standard_normal((400, code.CODED_BITS)).astype(np.float32)
    # The CRC lets one of 65,536 pass.
    assert [payload for payload in code.decode(noise) if payload is not None] == []


@pytest.mark.parametrize("payload", [-1, 1 << 48], ids=["negative", "too-long"])
def test_a_payload_has_48_bits(payload: int) -> None:
    with pytest.raises(ValueError, match="48 bits"):
        code.encode(payload)


def test_two_payloads_differ_in_many_coded_bits() -> None:
    words = np.stack([code.encode(payload) for payload in PAYLOADS])
    apart = (words[:, None] != words).sum(axis=2)[~np.eye(len(words), dtype=bool)]
    assert apart.min() >= 24, "the free distance of the code"


def test_the_code_is_that_of_version_1() -> None:
    # Marks in the world are read with this code for ever: another is another METHOD.
    told = b"".join(np.packbits(code.encode(payload)).tobytes() for payload in PAYLOADS[:4])
    assert hashlib.sha256(told).hexdigest()[:32] == "2aedfe227bc53eae6b36ba2b0aaa4d02"
