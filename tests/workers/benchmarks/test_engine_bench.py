"""The engine's benchmark: its figures are what they are called, and no timing is asserted."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional

sys.path.append(str(Path(__file__).parents[1] / "regeneration"))
from generator_fixtures import tiny_generator, window_of

from workers.benchmarks import engine
from workers.benchmarks.engine_systems import SIZES, Case, Took, _rows
from workers.benchmarks.held_out_codes import cross_entropies
from workers.benchmarks.machine import Machine
from workers.regeneration.delay import delay, undelay
from workers.regeneration.torchaudio_stub import make_torchaudio_importable

make_torchaudio_importable()

from transformers import MusicgenForCausalLM  # noqa: E402
from transformers.models.musicgen.configuration_musicgen import (  # noqa: E402
    MusicgenDecoderConfig,
)


def test_cross_entropy_step_by_step_is_that_of_the_full_forward_pass() -> None:
    model = tiny_generator()
    window = window_of(model, 2, 30)
    window = window.__class__(**{**vars(window), "kept_mask": torch.zeros(2, 30, dtype=torch.bool)})
    codes = window.kept_codes
    columns = delay(codes, model.config.padding)
    with torch.no_grad():
        logits = model(columns[:, :, :-1], *model.condition(window))
    every = functional.cross_entropy(
        logits.movedim(-1, 1), columns[:, :, 1:].clamp(max=15), reduction="none"
    )
    wanted = undelay(functional.pad(every, (1, 0)))
    torch.testing.assert_close(
        cross_entropies(model, window, codes, "float32"), wanted, atol=1e-4, rtol=0
    )


def test_ratios_and_floors_are_computed_round_by_round() -> None:
    case = Case("small", 1, "bfloat16", (1, 4), frames=10, rounds=3)
    took = {
        "transformers": [Took(4.0, 2.0), Took(6.0, 2.0), Took(40.0, 2.0)],
        "audiocraft": [Took(3.0, 1.0), Took(3.0, 1.0), Took(30.0, 1.0)],
        "ours 1": [Took(2.0, 1.0), Took(2.0, 1.0), Took(20.0, 1.0)],
        "ours 4": [Took(4.0, 2.0), Took(4.0, 2.0), Took(40.0, 2.0)],
    }
    machine = Machine(far=100.0, near=50.0, peak=1000.0)
    rows = {(r["system"], r["jobs"]): r for r in _rows(case, took, 20, machine, weights=5)}
    assert rows["ours", 4]["wall_times_transformers"] == 4.0
    assert rows["ours", 1]["cpu_times_audiocraft"] == 1.0
    assert rows["ours", 4]["frames_per_s"] == 10.0
    # 5 weights of 2 bytes at 100 bytes a second; 80 operations at 1000 a second.
    assert rows["ours", 1]["floor_ms"] == pytest.approx(100.0)
    assert rows["ours", 4]["share_of_floor"] == pytest.approx(0.1 * 20 / 4)


def test_a_table_is_printed_and_written_and_a_failure_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked = []

    def measuring(case: dict[str, object]) -> dict[str, object]:
        asked.append((case["model"], case["precision"], case["threads"]))
        if case["precision"] == "int8":
            raise RuntimeError("no such kernel")
        row = {
            "system": "ours", "jobs": 8, "frames_per_s": 100.0, "ms_per_step": 1.5,
            "share_of_floor": 0.25, "wall_times_transformers": 7.0, "wall_times_audiocraft": 5.0,
            "cpu_times_transformers": 7.5, "cpu_times_audiocraft": 5.5,
        }  # fmt: skip
        return {
            "case": case, "weights": 1_000_000, "settings": "static cache", "codes_agree": True,
            "machine": {"far": 1e9, "near": 2e9, "peak": 3e9}, "load": (0.1, 0.2, 0.3),
            "rows": [row],
        }  # fmt: skip

    monkeypatch.setattr(engine, "_measured", measuring)
    file = tmp_path / "engine.json"
    given = ["--model", "small", "--threads", "1", "--precision", "float32,int8", "--json"]
    assert engine.main([*given, str(file)]) == 1
    told = capsys.readouterr().out
    assert "7.00" in told
    assert "no such kernel" in told
    assert asked == [("small", "float32", 1), ("small", "int8", 1)]
    assert len(json.loads(file.read_text())["engine"]) == 1


def test_the_command_for_a_gpu_says_all_that_is_needed() -> None:
    sizes = ["bundled", "small", "medium", "large"]
    jobs = ["1", "2", "4", "8", "16", "32", "64"]
    given = engine._options(["--device", "cuda", "--models", *sizes, "--jobs", *jobs])
    assert (given.model, given.jobs) == (sizes, [1, 2, 4, 8, 16, 32, 64])
    assert (given.precision, given.threads, given.step) == (["bfloat16"], [1], None)
    assert {engine._frames(model, "cuda") for model in sizes} == {250}


@pytest.mark.parametrize(
    ("size", "weights"), [("cross", 0.42e9), ("medium", 1.8e9), ("large", 3.2e9)]
)
def test_the_sizes_are_those_of_the_published_decoders(size: str, weights: float) -> None:
    with torch.device("meta"):
        model = MusicgenForCausalLM(MusicgenDecoderConfig(**SIZES[size]))
    assert sum(w.numel() for w in model.parameters()) == pytest.approx(weights, rel=0.03)


def test_the_command_runs_the_steps_of_a_gpu_on_a_cpu(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """All of it but the device: the same weights in three systems, one table."""
    pytest.importorskip("audiocraft")
    file = tmp_path / "engine.json"
    given = ["--models", "tiny", "--jobs", "1", "3", "--threads", "1", "--rounds", "1",
             "--precision", "float32", "--frames", "12", "--step", "fixed"]  # fmt: skip
    assert engine.main([*given, "--json", str(file)]) == 0
    (found,) = json.loads(file.read_text())["engine"]
    assert found["codes_agree"] is True
    assert found["case"]["fixed"] is True
    assert [(row["system"], row["jobs"]) for row in found["rows"]] == [
        ("transformers", 1), ("audiocraft", 1), ("ours", 1), ("ours", 3)
    ]  # fmt: skip
    told = capsys.readouterr().out
    for column in ("audio s/s", "of floor", "peak MB", "steps: one width"):
        assert column in told


@pytest.mark.parametrize(
    "given",
    [
        ["--jobs", ""],
        ["--precision", "float8"],
        ["--threads", "0"],
        ["--models", "huge"],
        ["--jobs", "many"],
    ],
)
def test_nonsense_is_refused(given: list[str]) -> None:
    with pytest.raises(SystemExit):
        engine.main(given)
