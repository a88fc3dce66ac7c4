"""Folders of songs that nobody trained on: what is measured, what is refused by name."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.workers.benchmarks.sounds import Samples, hits, line
from workers.benchmarks.multitracks import BadMultitrack, open_multitrack
from workers.benchmarks.quality import open_multitracks

RATE = 48_000
SECONDS = 26.0


def song(folder: Path, **changed: Samples | None) -> Path:
    beats = np.arange(0.1, SECONDS - 0.2, 0.5)
    notes = [60, 64, 67, 65, 69, 72, 67, 71, 74, 60, 64, 67, 72]
    stems: dict[str, Samples | None] = {
        "drums": hits(beats, seconds=SECONDS, rate=RATE),
        "bass": line([36, 41, 43, 36] * 7, rate=RATE)[: round(SECONDS * RATE)],
        "other": line(notes * 2, rate=RATE)[: round(SECONDS * RATE)],
        **changed,
    }
    folder.mkdir(parents=True)
    for name, audio in stems.items():
        if audio is not None:
            soundfile.write(folder / f"{name}.wav", audio, RATE)
    return folder


def test_a_song_at_any_rate_gives_excerpts_with_beats_and_key_as_heard(tmp_path: Path) -> None:
    opened = open_multitrack(song(tmp_path / "a song"))
    stems = opened.stems()
    assert stems["drums"].shape == (2, round(SECONDS * 44_100))
    assert not stems["vocals"].any(), "vocals may be missing"
    offsets = opened.offsets()
    assert len(offsets) == 2
    assert all(0 <= start <= SECONDS - 10 for start in offsets)
    labels = opened.labels(offsets[0])
    assert labels.beat_s == pytest.approx(0.5, rel=0.05)
    assert labels.scale == (0, 2, 4, 5, 7, 9, 11)
    assert labels.chords == ()
    assert labels.style is None


def test_bad_folders_are_refused_by_name_and_reason(tmp_path: Path) -> None:
    short = line([36], rate=RATE)
    bad = {
        "no bass": song(tmp_path / "no bass", bass=None),
        "drums.wav is silent": song(
            tmp_path / "quiet", drums=np.zeros(round(SECONDS * RATE), np.float32)
        ),
        "bass.wav has": song(tmp_path / "uneven", bass=short),
        "shorter than 10 s": song(tmp_path / "brief", drums=short, bass=short, other=short),
    }
    reasons = {
        "no bass": "bass.wav is missing",
        "drums.wav is silent": "drums.wav is silent",
        "bass.wav has": "bass.wav has 48000 samples",
        "shorter than 10 s": "shorter than 10 s",
    }
    for key, folder in bad.items():
        with pytest.raises(BadMultitrack, match=reasons[key]) as refused:
            open_multitrack(folder)
        assert folder.name in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"RIFF\x00\x00\x00\x00WAVEjunk", b"no sound at all"])
def test_a_file_that_is_no_sound_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = song(tmp_path / "broken")
    (folder / "other.wav").write_bytes(content)
    with pytest.raises(BadMultitrack, match=r"broken: other\.wav cannot be read"):
        open_multitrack(folder)


def test_samples_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    folder = song(tmp_path / "nan")
    audio = np.full(round(SECONDS * RATE), np.nan, np.float32)
    soundfile.write(folder / "bass.wav", audio, RATE, subtype="FLOAT")
    with pytest.raises(BadMultitrack, match="not finite"):
        open_multitrack(folder)


def test_good_songs_are_measured_although_bad_ones_lie_beside_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    song(tmp_path / "good")
    song(tmp_path / "poor", drums=None)
    (tmp_path / "notes.txt").write_text("not a folder")
    assert [opened.name for opened in open_multitracks(tmp_path)] == ["good"]
    assert "skipped poor: drums.wav is missing" in capsys.readouterr().err
