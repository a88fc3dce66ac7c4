"""Results that are kept: a run that was interrupted goes on, other conditions are measured anew."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.workers.benchmarks.sounds import hits
from workers.benchmarks.held_out import listed
from workers.benchmarks.rendering import CorpusStyleExamples
from workers.benchmarks.store import place_of, run_all
from workers.version import REVISIONS


@dataclass(frozen=True)
class Square:
    number: int
    log: Path
    fails: bool = False

    def depends_on(self) -> Mapping[str, Any]:
        return {"number": self.number}

    def run(self, files: Path) -> Mapping[str, Any]:
        if self.fails:
            raise RuntimeError(f"no square of {self.number}")
        with self.log.open("a") as file:
            file.write(f"{self.number}\n")
        (files / "sound.npy").write_text("kept")
        return {"square": self.number**2}


def test_results_come_in_order_and_are_measured_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    jobs = [Square(number, log) for number in (3, 1, 2)]
    for _ in range(2):
        found = run_all(jobs, tmp_path / "kept", 1, "squares")
        assert [result["square"] for result in found] == [9, 1, 4]
    assert sorted(log.read_text().split()) == ["1", "2", "3"]
    assert (place_of(jobs[0], tmp_path / "kept").with_suffix("") / "sound.npy").exists()


def test_what_was_done_before_a_failure_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "log"
    jobs = [Square(1, log), Square(2, log, fails=True), Square(3, log)]
    with pytest.raises(RuntimeError, match="no square of 2"):
        run_all(jobs, tmp_path, 1, "squares")
    assert log.read_text().split() == ["1"]
    again = [Square(job.number, log) for job in jobs]
    assert [result["square"] for result in run_all(again, tmp_path, 1, "squares")] == [1, 4, 9]
    assert log.read_text().split() == ["1", "2", "3"]


def test_what_a_stage_made_otherwise_is_measured_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    run_all([Square(2, log)], tmp_path, 1, "squares")
    monkeypatch.setitem(REVISIONS, "regenerate", REVISIONS["regenerate"] + 1)
    run_all([Square(2, log)], tmp_path, 1, "squares")
    assert log.read_text().split() == ["2", "2"]


def test_processes_measure_what_one_measures(tmp_path: Path) -> None:
    beats = np.arange(0.0, 15.0, 0.5)
    for number, style in enumerate(("rock", "house", "waltz")):
        folder = tmp_path / "train" / f"{number:06d}"
        folder.mkdir(parents=True)
        told = {"style": style, "beats": beats.tolist(), "downbeats": beats[::4].tolist()}
        (folder / "piece.json").write_text(json.dumps(told))
        sound = hits(beats[number::2], seed=number, seconds=15.0, rate=44_100)
        soundfile.write(folder / "drums.flac", np.stack([sound, sound], axis=1), 44_100)
    jobs = [CorpusStyleExamples(piece) for piece in listed(tmp_path, "train")]
    found = run_all(jobs, tmp_path / "two", 2, "examples")
    assert [result["style"] for result in found] == ["rock", "house", "waltz"]
    assert all(result["examples"] for result in found)
    assert found == run_all(jobs, tmp_path / "one", 1, "examples")
