"""Whole jobs under the embedded parts, batched and one by one."""

import json
from pathlib import Path

import pytest

from service.bench.house import Models
from service.bench.jobs import GENERATION_DONE, ONE_BY_ONE, Round
from service.bench.jobs_command import figures, jobs_command
from tests.tiny_checkpoints import write_tiny_checkpoints
from workers.regeneration.engine import DONE

TINY = Models("drums", "rock", "tiny-drums", "tiny-separator")


def test_the_bench_reads_what_the_engine_logs() -> None:
    assert GENERATION_DONE == DONE


def test_figures_are_those_of_the_round() -> None:
    seen = Round(
        seconds=120.0,
        queued=[1.0, 2.0, 3.0, 4.0],
        first_sound=[3.0, 4.0, 5.0, 6.0],
        published=[10.0, 20.0, 30.0, 40.0],
        model_seconds=60.0,
        memory=[100, 300, 200, 250],
    )
    made = figures(seen, ONE_BY_ONE)
    assert made["jobs_a_minute"] == 2.0
    assert made["queued_s"] == {"p50": 2.0, "p95": 4.0}
    assert made["first_sound_s"] == {"p50": 4.0, "p95": 6.0}
    assert made["published_s"] == {"p50": 20.0, "p95": 40.0}
    assert made["model_busy_share"] == 0.5
    assert made["memory_tenths"] == [100, 300, 200, 250]


def test_every_job_is_made_and_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REPRISE_CARDS", str(write_tiny_checkpoints(tmp_path / "cards")))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    file = tmp_path / "figures.json"
    # One by one is the same with other settings, and `opened` takes either.
    status = jobs_command(jobs=4, seconds=4.0, compare=False, models=TINY, file=file)
    assert status == 0, capsys.readouterr().err
    made = json.loads(file.read_text())["batched"]
    assert (made["worker_jobs"], made["engine_rows"]) == (4, 96)
    assert made["jobs_a_minute"] > 0
    assert 0 <= made["queued_s"]["p50"] <= made["queued_s"]["p95"] <= made["published_s"]["p95"]
    assert 0 < made["first_sound_s"]["p50"] < made["published_s"]["p50"]
    assert 0 < made["model_busy_share"] <= 1
    assert min(made["memory_tenths"]) > 0
    assert "asked for at once" in capsys.readouterr().out
