"""The loop: resumable, stopped by what is no number, a full disk, and what it exports."""

import json
import resource
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.generator_windows import CONFIG, draw, examples, fresh
from workers.regeneration.model import load_generator
from workers.training.generator.batches import (
    Batch,
    validation_batch,
)
from workers.training.generator.command import export
from workers.training.generator.loop import (
    CURVE,
    STATE,
    StateNotSaved,
    TrainingDiverged,
    averaged,
    codebook_losses,
    train,
    weighted,
)


def test_a_run_that_was_stopped_ends_with_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    train(fresh(), draw, tmp_path / "whole", {"seed": 5})
    train(fresh(), draw, tmp_path / "parts", {"seed": 5}, stop_after=3)
    # The run that goes on starts from other weights: all must come from the state.
    train(fresh(seed=9), draw, tmp_path / "parts", {"seed": 5})
    whole, parts = (load_file(tmp_path / run / STATE) for run in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_run_that_goes_on_under_another_schedule_says_so(tmp_path: Path) -> None:
    train(fresh(steps=6), draw, tmp_path, {}, stop_after=2)
    about = train(fresh(steps=4), draw, tmp_path, {})
    assert about["step"] == 4
    assert about["schedules"] == [[0, 6], [2, 4]]


def test_a_loss_that_is_no_number_stops_the_run_and_leaves_the_state(tmp_path: Path) -> None:
    train(fresh(), draw, tmp_path, {}, stop_after=2)
    before = (tmp_path / STATE).read_bytes()

    def broken(step: int) -> Batch:
        batch = draw(step)
        batch.window.features.fill_(float("nan"))
        batch.window.present.fill_(1.0)
        return batch

    with pytest.raises(TrainingDiverged, match="step 2"):
        train(fresh(), broken, tmp_path, {})
    assert (tmp_path / STATE).read_bytes() == before


def test_a_gradient_that_is_no_number_stops_the_run_and_leaves_the_weights(tmp_path: Path) -> None:
    run = fresh()
    train(run, draw, tmp_path, {}, stop_after=2)
    before = (tmp_path / STATE).read_bytes()
    weights = {name: weight.clone() for name, weight in run.model.state_dict().items()}
    run.model.style.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(TrainingDiverged, match="gradient of step 2"):
        train(run, draw, tmp_path, {})
    assert (tmp_path / STATE).read_bytes() == before
    assert all(torch.equal(weights[n], w) for n, w in run.model.state_dict().items())


def test_a_full_disk_stops_the_run_and_leaves_the_state(tmp_path: Path) -> None:
    train(fresh(), draw, tmp_path, {}, stop_after=2)
    before = (tmp_path / STATE).read_bytes()
    # No file may grow beyond this, as if there were no room for more.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, limits[1]))
    try:
        with pytest.raises(StateNotSaved, match="step 4 could not be saved"):
            train(fresh(), draw, tmp_path, {}, stop_after=4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(path.name for path in tmp_path.iterdir()) == [CURVE, STATE]
    assert (tmp_path / STATE).read_bytes() == before
    train(fresh(), draw, tmp_path, {}, stop_after=4)
    assert (tmp_path / STATE).read_bytes() != before


def lines_of(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / CURVE).read_text().splitlines()]


def test_the_curve_holds_every_step_once_however_often_the_run_was_killed(tmp_path: Path) -> None:
    def go(folder: Path, stop_after: int | None = None) -> None:
        train(
            fresh(), draw, folder, {}, lambda _: {"true": 1.0}, report_every=1, validate_every=4,
            stop_after=stop_after,
        )  # fmt: skip

    go(tmp_path / "whole")
    go(tmp_path / "parts", stop_after=3)
    state = (tmp_path / "parts" / STATE).read_bytes()
    go(tmp_path / "parts", stop_after=6)
    # Killed after step 6 was reported, in the middle of a line, with the state of step 3.
    (tmp_path / "parts" / STATE).write_bytes(state)
    with (tmp_path / "parts" / CURVE).open("a") as curve:
        curve.write('{"step": 7, "sec')
    go(tmp_path / "parts")
    whole, parts = (
        [{k: v for k, v in line.items() if k != "seconds"} for line in lines_of(tmp_path / run)]
        for run in ("whole", "parts")
    )
    assert [line["step"] for line in parts if "nats" in line] == list(range(1, 9))
    validated = [line for line in parts if "validation" in line]
    assert [line["step"] for line in validated] == [3, 4, 8]
    assert [line for line in parts if line not in validated[:1]] == whole


def test_a_run_that_goes_on_with_more_pieces_says_so(tmp_path: Path) -> None:
    train(fresh(), draw, tmp_path, {}, stop_after=2, examples={"train": 3})
    train(fresh(), draw, tmp_path, {}, stop_after=4, examples={"train": 3})
    about = train(fresh(), draw, tmp_path, {}, examples={"train": 5})
    assert about["examples"] == [[0, {"train": 3}], [4, {"train": 5}]]


def test_a_generator_learns_to_follow_its_context(tmp_path: Path) -> None:
    run = fresh(steps=150)
    train(run, draw, tmp_path, {})
    model = averaged(run)
    with torch.no_grad():
        losses = {
            kind: float(
                weighted(codebook_losses(model, validation_batch(CONFIG, examples(), kind)))
            )
            for kind in ("true", "shuffled", "none")
        }
    assert losses["true"] < 0.6 * losses["shuffled"]
    assert losses["true"] < losses["none"]


def test_what_is_exported_loads_as_it_was(tmp_path: Path) -> None:
    model = fresh().model
    export(model, tmp_path, {"seed": 5})
    config = json.loads((tmp_path / "config.json").read_text())
    state = load_file(tmp_path / "model.safetensors")
    assert all(weight.dtype == torch.float16 for weight in state.values())
    assert config["training"] == {"seed": 5}
    assert config["styles"] == ["rock", "ballad"]
    assert load_generator(config, state).config == CONFIG
