"""Sounds made to flood the fingerprints have no more landmarks than music, nor more to compare."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from service.permit import Permit
from service.recognition.landmarks import MOST_A_SECOND, MOST_REPEATS, bounded
from workers.audio import Audio
from workers.fingerprint import fingerprint

RATE, SECONDS = 44_100, 20
TIME = np.arange(RATE * SECONDS)


def permit() -> Permit:
    return Permit(
        purpose="ingest",
        stage="ingest",
        track_id="trk",
        subject="s",
        job_id="job",
        token_id="tok",
        grant_id=None,
        generation=None,
        checkpoints={},
        valid_until=datetime.now(UTC) + timedelta(minutes=5),
    )


def heard(samples: NDArray[np.floating]) -> list[tuple[int, int]]:
    level = np.abs(samples).max() or 1.0
    mono = (0.3 * samples / level).astype(np.float32)
    return fingerprint(permit(), Audio(np.stack([mono, mono]), RATE))


def noise(seconds: float = SECONDS) -> NDArray[np.floating]:
    return np.random.default_rng(1).standard_normal(int(RATE * seconds))


FLOODS = {
    "tones whose period is a frame's": sum(
        np.sin(2 * np.pi * k * TIME / 1024) for k in range(1, 128, 3)
    ),
    "an impulse in every frame": (TIME % 1024 == 0).astype(float),
    "an impulse in every fourth": (TIME % 4096 == 0).astype(float),
    "one frame of noise again and again": np.tile(noise(1024 / RATE), len(TIME) // 1024 + 1)[
        : len(TIME)
    ],
    "clicks": (TIME % 11_025 == 0).astype(float),
}


@pytest.mark.parametrize("name", FLOODS, ids=lambda name: name.replace(" ", "-"))
def test_a_flood_has_no_more_than_music(name: str) -> None:
    found = heard(FLOODS[name])
    assert len(found) <= MOST_A_SECOND * SECONDS
    repeats = Counter(value for value, _ in found)
    assert max(repeats.values(), default=0) <= MOST_REPEATS
    # What a second upload of it would have to be compared with: pairs of equal landmarks.
    assert sum(times * times for times in repeats.values()) < 200_000


@pytest.mark.parametrize(
    "samples",
    [np.zeros(RATE * 5), np.zeros(3)],
    ids=["silent", "short"],
)
def test_what_holds_nothing_has_no_landmarks_worth_a_match(samples: NDArray[np.floating]) -> None:
    assert len(heard(samples)) < 12


def test_what_is_left_out_is_the_same_in_a_copy() -> None:
    """A recording of too many: its quieter copy, two seconds shorter, keeps the very same."""
    drawn = np.random.default_rng(3)
    crowd = sorted({(int(drawn.integers(1 << 24)), int(drawn.integers(860))) for _ in range(9000)})
    whole = bounded(crowd, SECONDS)
    assert len(whole) == MOST_A_SECOND * SECONDS
    cut = bounded([(value, frame - 86) for value, frame in crowd if frame >= 86], SECONDS - 2)
    moved = {(value, frame + 86) for value, frame in cut}
    assert len(moved & set(whole)) > 0.9 * len(cut)


def test_music_is_left_as_it_is() -> None:
    marks = sorted({(n * 7919 % (1 << 24), n) for n in range(800)})
    assert bounded(marks, SECONDS) == marks
