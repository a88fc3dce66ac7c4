"""A real generation under the embedded parts, revoked in the middle."""

import json
from pathlib import Path

import pytest

from service.bench import command
from service.bench.house import Models
from service.bench.stopping import MODEL_STOPPED
from tests.tiny_checkpoints import write_tiny_checkpoints
from workers.regeneration.engine import CANCELLED

TINY = Models("drums", "rock", "tiny-drums", "tiny-separator")


def test_the_bench_reads_what_the_engine_logs() -> None:
    assert MODEL_STOPPED == CANCELLED


def test_a_generation_stops_when_its_grant_is_revoked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REPRISE_CARDS", str(write_tiny_checkpoints(tmp_path / "cards")))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    file = tmp_path / "figures.json"
    status = command.revocation_command(
        runs=2, races=0, models=TINY, postgres=None, seed=1, file=file
    )
    assert status in (0, 1), capsys.readouterr().err
    figures = json.loads(file.read_text())["stops"]
    assert figures["runs"] == 2
    assert figures["published_after_return"] == 0
    # A busy machine may take longer than the target, which is measured on a quiet one.
    assert -1000 < figures["model_ms"]["p50"] <= figures["model_ms"]["p99"] < 10_000
    assert "the model has stopped" in capsys.readouterr().out
