"""A stranger's file is heard in a limited child, and says what it is a copy of."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from service.recognition import hearing
from service.recognition.hearing import hear
from service.recognition.index import index_recordings
from service.recognition.keeping import keep_track
from service.recognition.landmarks import RATE as LANDMARK_RATE
from service.recognition.matching import find_similar
from service.recognition.measuring import measure
from tests.songs import RATE, SECONDS, song
from tests.stories import Story

ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@ONE
def test_a_file_is_recognised(story: Story, tmp_path: Path) -> None:
    """The library resamples in the child, the worker otherwise: the landmarks agree."""
    track_id = story.track(story.owner("Ada"), seconds=SECONDS)
    kept = measure(np.asarray(soxr.resample(song(1), RATE, LANDMARK_RATE), dtype=np.float32))
    with story.database.transaction() as session:
        keep_track(session, track_id, kept, SECONDS)
    index_recordings(story.database)
    file = tmp_path / "copy.mp3"
    soundfile.write(file, np.stack([song(1)[5 * RATE : 20 * RATE]] * 2, axis=1), RATE, format="MP3")
    heard = hear(file)
    assert heard is not None
    landmarks, seconds = heard
    assert seconds == pytest.approx(15.0, abs=0.1)
    with story.database.snapshot() as session:
        (similar,) = find_similar(session, landmarks, seconds)
    assert similar.track_id == track_id
    assert similar.best.offset_seconds == pytest.approx(5.0, abs=0.1)


def test_what_nobody_can_make_out_is_nothing(tmp_path: Path) -> None:
    file = tmp_path / "noise.mp3"
    for content in (b"", b"not audio" * 1000):
        file.write_bytes(content)
        assert hear(file) is None


def test_a_file_that_takes_too_long_is_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hearing, "SECONDS", 0.05)
    file = tmp_path / "long.wav"
    soundfile.write(file, np.zeros(RATE * 60, np.float32), RATE)
    assert hear(file) is None
