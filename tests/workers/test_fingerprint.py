"""The fingerprint: a copy is found again through what copies suffer, another song is not."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import soxr

from service.catalog.models import Track
from service.database import Database
from service.ingestion.fingerprints import Match, find_matches
from service.permit import Permit, PermitDenied
from service.recognition.keeping import keep_track
from service.recognition.landmarks import LEAST_SCORE, MOST_APART, pack
from tests.songs import RATE, SECONDS, Samples, song, through_mp3
from tests.stories import Story
from workers.audio import Audio
from workers.fingerprint import fingerprint

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def cut(samples: Samples) -> Samples:
    """Ten seconds and a bit (no whole frames) off the start."""
    return samples[10 * RATE + 1234 :]


def to_48k(samples: Samples) -> Samples:
    return np.asarray(soxr.resample(samples, RATE, 48_000), dtype=np.float32)


@pytest.fixture
def permit() -> Permit:
    return Permit(
        purpose="ingest",
        stage="ingest",
        track_id="trk",
        subject="s",
        job_id=None,
        token_id=None,
        grant_id=None,
        generation=None,
        checkpoints={},
        valid_until=datetime.now(UTC) + timedelta(minutes=5),
    )


class Shelf:
    """Recordings kept as tracks in a real database, and looked up."""

    def __init__(self, story: Story, permit: Permit) -> None:
        self.story, self.permit = story, permit
        self.owner = story.owner("Ada")
        self.database: Database = story.database

    def keep(self, samples: Samples) -> str:
        track_id = self.story.track(self.owner, seconds=samples.size / RATE)
        with self.database.transaction() as session:
            keep_track(session, track_id, self.landmarks(samples), samples.size / RATE)
        return track_id

    def find(self, samples: Samples, rate: int = RATE) -> list[Match]:
        probe = Track(id="trk_probe", audio_sha256="none", duration_seconds=samples.size / rate)
        with self.database.snapshot() as session:
            return find_matches(session, probe, self.landmarks(samples, rate))

    def landmarks(self, samples: Samples, rate: int = RATE) -> list[tuple[int, int]]:
        return fingerprint(self.permit, Audio(np.stack([samples] * 2), rate))


@pytest.fixture
def shelf(story: Story, permit: Permit) -> Shelf:
    return Shelf(story, permit)


def test_a_copy_is_found_again(shelf: Shelf) -> None:
    """With what the score was, so that the threshold's room on both sides is on record."""
    original = song(1)
    track_id = shelf.keep(original)
    for other in (2, 3):
        shelf.keep(song(other))
    copies = {
        "the same": (original, RATE, 0.0, 0.99),
        "MP3 at 128 kbit/s": (through_mp3(original), RATE, 0.0, 0.6),
        "20 dB quieter": (original * 0.1, RATE, 0.0, 0.95),
        "cut": (cut(original), RATE, 10.03, 0.6),
        "48 kHz": (to_48k(original), 48_000, 0.0, 0.95),
        "all of it": (through_mp3(to_48k(cut(original)) * 0.3, 48_000), 48_000, 10.03, 0.45),
    }
    for name, (samples, rate, offset, least) in copies.items():
        (match,) = shelf.find(samples, rate)
        assert (match.track_id, match.kind) == (track_id, "sound"), name
        assert match.score >= least, (name, match)
        assert match.offset_seconds == pytest.approx(offset, abs=0.06), name


def test_another_song_of_the_same_composer_is_not_found(shelf: Shelf) -> None:
    """Same drum samples at the same moments, tempo, key and instruments: the hardest there is."""
    for seed in (1, 2, 3):
        shelf.keep(song(seed))
    for seed in range(4, 8):
        assert shelf.find(song(seed)) == [], seed


def test_a_quotation_is_not_the_recording(shelf: Shelf) -> None:
    shelf.keep(song(1))
    quoting = song(5, tempo=97.0).copy()
    quoting[12 * RATE : 15 * RATE] = song(1)[: 3 * RATE]
    assert shelf.find(quoting) == []
    # Nor is a few seconds' overlap at the very ends.
    chained = np.concatenate([song(1)[-5 * RATE :], song(6, tempo=97.0)])
    assert shelf.find(chained) == []


def test_an_excerpt_is_found_in_the_whole_and_the_whole_by_it(shelf: Shelf) -> None:
    excerpt = song(1)[8 * RATE : 23 * RATE]
    track_id = shelf.keep(excerpt)
    (match,) = shelf.find(song(1))
    assert match.track_id == track_id
    assert match.score > LEAST_SCORE
    assert match.offset_seconds == pytest.approx(-8.0, abs=0.06)


def test_what_it_does_not_find(shelf: Shelf) -> None:
    """Stated where it can fail: a copy at another speed has other hashes."""
    shelf.keep(song(1))
    faster = np.asarray(soxr.resample(song(1), RATE, RATE * 0.97), dtype=np.float32)
    assert shelf.find(faster) == []


def test_silence_tones_and_snippets_match_nothing(shelf: Shelf) -> None:
    time = np.arange(5 * RATE) / RATE
    silence = np.zeros(5 * RATE, dtype=np.float32)
    tone = (0.5 * np.sin(2 * np.pi * 220 * time)).astype(np.float32)
    other = (0.5 * np.sin(2 * np.pi * 330 * time)).astype(np.float32)
    assert shelf.landmarks(silence) == []
    assert shelf.landmarks(silence[:100]) == []
    shelf.keep(silence)
    shelf.keep(tone)
    assert shelf.find(silence) == []
    assert shelf.find(other) == []


def test_only_ready_tracks_are_looked_up(shelf: Shelf) -> None:
    track_id = shelf.keep(song(1))
    for state in ("held", "rejected", "ingesting"):
        shelf.story.set_track(track_id, state=state)
        assert shelf.find(song(1)) == []


def test_landmarks_are_small_and_each_once(shelf: Shelf) -> None:
    found = shelf.landmarks(song(1))
    assert len(found) == len(set(found))
    assert 5 < len(found) / SECONDS < 80
    for value, frame in found:
        assert 0 < value < 1 << 24
        assert 0 < value & MOST_APART <= MOST_APART
        assert 0 <= frame < SECONDS * 44
    assert pack(511, 511, MOST_APART) == (1 << 24) - 1


def test_no_permit_no_fingerprint(shelf: Shelf) -> None:
    upload = shelf.permit.__class__(
        **{name: getattr(shelf.permit, name) for name in shelf.permit.__slots__}
        | {"stage": "upload"}
    )
    with pytest.raises(PermitDenied):
        fingerprint(upload, Audio(np.zeros((2, RATE), dtype=np.float32), RATE))
