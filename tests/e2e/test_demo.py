"""`reprise demo`, as a newcomer meets it: the story, the second remix, and the ways out."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import soundfile
from running import DEMO_SECONDS, ROOT, Command, Demo, pids_below, run_reprise

from checkpoints import registry

MEMORY_BYTES = 3 * 1024**3


def peak_bytes(pid: int) -> int:
    """The most memory the process has held so far (VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]


def test_the_story_ends_with_a_trusted_file_of_the_songs_length(demo: Demo) -> None:
    assert re.search(r"Credential +trusted", demo.command.text)
    song = next(demo.folder.glob("song.*"))
    original, remix = soundfile.info(song), soundfile.info(demo.file)
    # The catalogue holds the song at 44.1 kHz; the remix has exactly its length.
    assert remix.samplerate == 44100
    assert remix.frames == round(original.frames * 44100 / original.samplerate)


def test_the_story_says_how_long_it_took_and_stays_within_its_memory(demo: Demo) -> None:
    # How long is the demo's own word: a bound here would measure the machine's other work.
    assert int(demo.command.wait_for(r"Done in (\d+) s", 1)[1]) > 0
    peaks = {pid: peak_bytes(pid) for pid in pids_below(demo.command.process.pid)}
    assert len(peaks) >= 4, "broker, API, relay and worker run"
    assert max(peaks.values()) <= MEMORY_BYTES


def test_progress_is_shown_as_it_happens(demo: Demo) -> None:
    told = re.search(
        r"… take the song apart\n.*… play the new part\n +\d+%\n.*… mix it in.*… sign the file",
        demo.command.text,
        re.DOTALL,
    )
    assert told, demo.command.text


def test_the_file_verifies_on_the_command_line_and_a_changed_one_does_not(
    demo: Demo, tmp_path: Path
) -> None:
    def verify(file: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "service.cli", "verify", str(file)],
            env={**os.environ, "REPRISE_HOME": str(demo.home)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    assert verify(demo.file).returncode == 0
    content = bytearray(demo.file.read_bytes())
    content[len(content) // 2] ^= 1
    changed = tmp_path / "changed.flac"
    changed.write_bytes(content)
    answer = verify(changed)
    assert answer.returncode == 1
    assert answer.stdout.startswith("altered")


def test_a_second_remix_uses_the_running_service_and_skips_the_separation(demo: Demo) -> None:
    second = run_reprise(demo.home, "demo", "--seed", "8", "--folder", str(demo.folder))
    assert second.status(DEMO_SECONDS) == 0, second.text
    assert f"Using the service that runs at {demo.url}" in second.text
    assert "take the song apart (known already)" in second.text
    other = Path(second.wait_for(r"Remix +(\S+)", 1)[1])
    assert other != demo.file
    assert other.read_bytes() != demo.file.read_bytes()
    assert httpx.get(f"{demo.url}/healthz").is_success, "the service was left running"


def test_only_the_seconds_asked_for_are_made_anew(demo: Demo) -> None:
    told = {"density": "sparse", "fills": "0", "swing": "0"}
    controls = registry.card("reprise-drums").controls
    arguments = [word for name in controls for word in (f"--{name}", told[name])]
    partial = run_reprise(
        demo.home,
        *("demo", "--seed", "7", "--redo", "24-28,8-16", "--folder", str(demo.folder)),
        *arguments,
    )
    assert partial.status(DEMO_SECONDS) == 0, partial.text
    assert "only from 0:08 to 0:16 and 0:24 to 0:28" in partial.text
    assert ("sparse, without fills, straight" in partial.text) == bool(controls)

    song = next(demo.folder.glob("song.*"))
    file = Path(partial.wait_for(r"Remix +(\S+)", 1)[1])
    original, rate = soundfile.read(song, dtype="float32", always_2d=True)
    remix, remix_rate = soundfile.read(file, dtype="float32", always_2d=True)
    assert (rate, len(original)) == (remix_rate, len(remix)), "no resampling blurs what follows"
    # Two seconds at a time: how much of the song is not what it was. (Outside the spans that is
    # what the separator cannot put together again; 2 s is longer than any fade.)
    changed = [
        float(((remix[i : i + 2 * rate] - now) ** 2).sum() / (now**2).sum())
        for i in range(0, len(original) - 2 * rate, 2 * rate)
        for now in [original[i : i + 2 * rate]]
    ]
    new = {8, 10, 12, 14, 24, 26}
    inside = [share for n, share in enumerate(changed) if 2 * n in new]
    outside = [share for n, share in enumerate(changed) if 2 * n not in new]
    assert len(inside) == len(new)
    assert min(inside) > 2 * max(outside), changed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--track", "nowhere.mp3"], ["nowhere.mp3", "no such file"]),
        (["--track", "."], ["is a folder"]),
        (["--track", "README.md"], ["WAV, FLAC, MP3, Ogg or M4A"]),
        (["--part", "tuba"], ["PART=tuba", "bass and drums"]),
        (["--style", "polka"], ['STYLE="polka"', "rock"]),
        (["--redo", "8-16,12-20"], ["REDO", "8-16 s and 12-20 s overlap"]),
    ],
)
def test_a_mistake_tells_the_way_out_and_starts_nothing(
    reprise: Callable[..., Command], tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    command = reprise("demo", *arguments)
    assert command.status() == 1
    command.wait_for("Not possible", 1)
    for word in words:
        assert word in command.text
    assert "Traceback" not in command.text
    assert not (tmp_path / "home").exists()


def test_a_text_file_named_mp3_is_refused_in_the_services_own_words(
    demo: Demo, tmp_path: Path
) -> None:
    fake = tmp_path / "song.mp3"
    fake.write_text("this is no music\n" * 400)
    command = run_reprise(demo.home, "demo", "--track", str(fake), "--folder", str(demo.folder))
    assert command.status() == 1
    assert "Traceback" not in command.text
    assert re.search(r"type|audio|decod", command.text, re.IGNORECASE)
