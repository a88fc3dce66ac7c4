"""Files of strangers, in the limited child: found in every format, refused without a trace."""

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from service.ingestion.refusals import AudioUndecodable, DecodeLimit
from service.watermark import reading
from service.watermark.reading import read_watermark
from tests.service.watermark.conftest import KEY, PAYLOAD
from tests.watermark_music import RATE
from workers.benchmarks.attacks import coded

Samples = NDArray[np.float32]


def _flac(path: Path, samples: Samples) -> Path:
    soundfile.write(path, samples.T, RATE)
    return path


def test_the_mark_of_a_flac_file_is_found(tmp_path: Path, marked: Samples) -> None:
    found = read_watermark(_flac(tmp_path / "remix.flac", marked), KEY)
    assert [one.payload for one in found] == [PAYLOAD]
    assert found[0].false_positive < 1e-6


@pytest.mark.parametrize(
    ("codec", "container", "kbps", "rate"),
    [("libmp3lame", "mp3", 64, RATE), ("aac", "adts", 96, RATE), ("libopus", "ogg", 64, 48_000)],
    ids=["mp3-64", "aac-96", "opus-64"],
)
def test_it_survives_lossy_formats(
    marked: Samples, codec: str, container: str, kbps: int, rate: int, tmp_path: Path
) -> None:
    found = read_watermark(
        _flac(tmp_path / "once.flac", coded(marked, codec, container, kbps, rate)), KEY
    )
    assert [one.payload for one in found] == [PAYLOAD]


def test_a_file_without_one_has_none(tmp_path: Path, unmarked: Samples) -> None:
    assert read_watermark(_flac(tmp_path / "song.flac", unmarked), KEY) == []


def test_samples_that_are_no_numbers_are_silence(tmp_path: Path, marked: Samples) -> None:
    spoilt = marked.copy()
    spoilt[:, 1000:1050] = np.nan
    spoilt[:, 2000] = np.inf
    path = tmp_path / "spoilt.wav"
    soundfile.write(path, spoilt.T, RATE, subtype="FLOAT")
    assert [one.payload for one in read_watermark(path, KEY)] == [PAYLOAD]


def _cut_flac(marked: Samples) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, marked[:, :RATE].T, RATE, format="FLAC")
    return file.getvalue()[:60]


@pytest.mark.parametrize("kind", ["empty", "text", "cut", "playlist"])
def test_what_is_no_audio_is_refused(kind: str, tmp_path: Path, marked: Samples) -> None:
    content = {
        "empty": b"",
        "text": b"<script>alert(1)</script>" * 100,
        "cut": _cut_flac(marked),
        # A playlist would make FFmpeg open what it names.
        "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile:///etc/passwd\n",
    }[kind]
    path = tmp_path / "upload"
    path.write_bytes(content)
    with pytest.raises(AudioUndecodable):
        read_watermark(path, KEY)


def test_the_limit_on_time_is_told(
    tmp_path: Path, marked: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SECONDS", 0.05)
    with pytest.raises(DecodeLimit, match=r"0\.05 s"):
        read_watermark(_flac(tmp_path / "remix.flac", marked), KEY)


def test_the_key_lies_nowhere_by_a_name(
    tmp_path: Path, unmarked: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed here leaves nothing to read marks with, or to make them."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    during: list[list[Path]] = []
    run = reading.run_limited

    def look(*args: Any, **limits: Any) -> dict[str, Any]:
        during.append(list(folder.iterdir()))
        return run(*args, **limits)

    monkeypatch.setattr(reading, "run_limited", look)
    assert read_watermark(_flac(tmp_path / "song.flac", unmarked), KEY) == []
    assert during == [[]]
