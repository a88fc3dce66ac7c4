"""The separator's training: resumes by step, stops on nonsense, exports what it has learned."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from workers.training.data.corpus import write_corpus
from workers.training.data.remix import Remixer
from workers.training.data.soundfont import find_fonts
from workers.training.separator import (
    SOURCES,
    Recipe,
    Run,
    StateNotSaved,
    TrainingDiverged,
    evaluate,
    gains,
    load_exported,
    main,
    sdr,
    separate,
    separation_loss,
    table,
    train,
)
from workers.training.separator.log import Log, export_log, read_log

pytestmark = pytest.mark.renderer

RECIPE = Recipe(steps=4, seed=3, items=1, seconds=0.5)


def _silently(_: str) -> None:
    return None


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Sums differ with the number of threads, and a run is compared with one in another process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("corpus")
    write_corpus(out, 8, 77, find_fonts()[:1], 3.0)
    return out


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nothing interrupted."""
    return train(corpus, tmp_path_factory.mktemp("whole"), RECIPE, report=_silently)


def _same(one: Run, two: Run) -> bool:
    pairs = [
        (one.model.state_dict(), two.model.state_dict()),
        (one.averaged.state_dict(), two.averaged.state_dict()),
    ]
    return all(torch.equal(a[name], b[name]) for a, b in pairs for name in a)


def test_a_run_in_instalments_ends_where_a_whole_one_does(
    corpus: Path, whole: Run, tmp_path: Path
) -> None:
    for stop in (1, 3, None):
        parts = train(corpus, tmp_path, RECIPE, stop_at=stop, report=_silently)
    assert parts.step == RECIPE.steps
    assert _same(parts, whole)


def test_a_killed_run_resumes_to_the_same_weights(corpus: Path, whole: Run, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; import torch; torch.set_num_threads(1);"
        "from workers.training.separator import Recipe, train;"
        "train(Path(sys.argv[1]), Path(sys.argv[2]), Recipe(4, 3, 1, 0.5), save_every=0.0)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(corpus), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    state = tmp_path / "state.safetensors"
    deadline = time.monotonic() + 180
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with safe_open(state, framework="pt") as file:
        reached = int(file.metadata()["step"])
    assert 1 <= reached <= RECIPE.steps

    resumed = train(corpus, tmp_path, RECIPE, report=_silently)

    assert resumed.step == RECIPE.steps
    assert _same(resumed, whole)


def test_another_seed_gives_other_weights(corpus: Path, whole: Run, tmp_path: Path) -> None:
    other = train(corpus, tmp_path, replace(RECIPE, seed=4), report=_silently)
    assert not _same(other, whole)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_state(
    corpus: Path, whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = Remixer.batch

    def poisoned(self: Remixer, step: int, items: int, seconds: float) -> np.ndarray:
        batch = draw(self, step, items, seconds)
        return batch * np.float32("nan") if step == 2 else batch

    monkeypatch.setattr(Remixer, "batch", poisoned)
    with pytest.raises(TrainingDiverged, match="at step 2"):
        train(corpus, tmp_path, RECIPE, save_every=0.0, report=_silently)

    kept = Run(RECIPE)
    assert kept.load(tmp_path)
    assert kept.step == 2
    assert all(torch.isfinite(tensor).all() for tensor in kept.averaged.state_dict().values())
    monkeypatch.undo()
    assert _same(train(corpus, tmp_path, RECIPE, report=_silently), whole)


def test_a_step_that_diverges_changes_nothing() -> None:
    run = Run(RECIPE)
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    with pytest.raises(TrainingDiverged):
        run.advance(torch.full((1, 4, 2, 22050), float("inf")))
    assert run.step == 0
    assert all(torch.equal(before[name], now) for name, now in run.model.state_dict().items())


def test_a_foreign_or_damaged_state_is_refused(corpus: Path, tmp_path: Path) -> None:
    train(corpus, tmp_path, RECIPE, stop_at=1, report=_silently)
    with pytest.raises(ValueError, match="from seed 3, not 8"):
        train(corpus, tmp_path, replace(RECIPE, seed=8), report=_silently)
    with pytest.raises(ValueError, match="another corpus"):
        Run(RECIPE, corpus="0" * 64).load(tmp_path)
    state = tmp_path / "state.safetensors"
    state.write_bytes(state.read_bytes()[:100_000])
    with pytest.raises(ValueError, match="damaged training state"):
        train(corpus, tmp_path, RECIPE, report=_silently)


def test_the_command_line_says_why_it_stops(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--corpus", str(tmp_path / "none"), "--state", str(tmp_path), "--steps", "1"])
    assert stopped.value.code == 1
    assert "write one first" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--state", str(tmp_path), "--steps", "0", "--export", str(tmp_path / "out")])
    assert "no training state" in capsys.readouterr().err


def test_learning_lowers_the_loss(corpus: Path) -> None:
    run = Run(Recipe(steps=400, seed=1, items=1, seconds=0.5, learning_rate=8e-3))
    sources = torch.from_numpy(Remixer(corpus, "train", SOURCES, 1).batch(0, 1, 0.5))
    losses = [run.advance(sources) for _ in range(25)]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


def test_an_export_is_half_the_size_and_separates_alike(
    corpus: Path, whole: Run, tmp_path: Path
) -> None:
    whole.export(tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_size < 8_000_000
    weights = load_file(tmp_path / "model.safetensors")
    assert all(not w.is_floating_point() or w.dtype == torch.float16 for w in weights.values())
    mixture = np.random.default_rng(0).standard_normal((2, 44100), dtype=np.float32) * 0.1
    before, after = separate(whole.averaged, mixture), separate(load_exported(tmp_path), mixture)
    assert after.shape == (4, 2, 44100)
    assert np.max(np.abs(before - after)) < 1e-2 * np.max(np.abs(before))


def test_separation_keeps_length_and_does_not_depend_on_loudness(whole: Run) -> None:
    mixture = np.random.default_rng(1).standard_normal((2, 50_001), dtype=np.float32) * 0.1
    loud, soft = separate(whole.averaged, mixture), separate(whole.averaged, 0.1 * mixture)
    assert loud.shape == (4, 2, 50_001)
    assert np.allclose(loud, 10 * soft, atol=2e-3 * float(np.max(np.abs(loud))))


def test_sdr_by_hand() -> None:
    signal = np.random.default_rng(2).standard_normal((2, 1000)).astype(np.float32)
    assert sdr(signal, np.zeros_like(signal)) == pytest.approx(0.0, abs=1e-6)
    assert sdr(signal, 2 * signal) == pytest.approx(0.0, abs=1e-4)
    assert sdr(signal, 0.9 * signal) == pytest.approx(20.0, abs=1e-3)
    assert sdr(signal, signal) > 80


def test_the_loss_is_relative_and_zero_only_when_right() -> None:
    sources = torch.randn(2, 4, 2, 1000)
    assert float(separation_loss(sources, sources)) == pytest.approx(1e-2, rel=1e-3)
    quiet = separation_loss(torch.zeros_like(sources), sources)
    assert float(quiet) > 0.3
    scaled = separation_loss(torch.zeros_like(sources), 0.01 * sources)
    assert float(scaled) == pytest.approx(float(quiet), rel=1e-2)


def test_the_model_adds_up_to_the_mixture(whole: Run) -> None:
    mixture = np.random.default_rng(4).standard_normal((2, 66_150), dtype=np.float32) * 0.1
    together = separate(whole.averaged, mixture).sum(axis=0)
    assert sdr(mixture, together) > 30.0


def test_evaluation_gives_every_piece_and_its_gain(corpus: Path, whole: Run) -> None:
    scores = evaluate(whole.averaged, corpus, "test")
    assert set(scores) == {"model", "mixture"}
    assert len(scores["model"]["drums"]) == 2
    for source, over in gains(scores).items():
        for gain, model, mixture in zip(
            over, scores["model"][source], scores["mixture"][source], strict=True
        ):
            assert gain == min(model, model - mixture)
    text = table(scores)
    assert "drums" in text
    assert "gain" in text


def test_pieces_that_cannot_be_scored_are_named(corpus: Path, whole: Run, tmp_path: Path) -> None:
    spoilt = tmp_path / "corpus"
    shutil.copytree(corpus, spoilt)
    first, second = sorted((spoilt / "test").iterdir())
    soundfile.write(first / "bass.flac", np.zeros((500, 2)), 44100)
    for stem in second.glob("*.flac"):
        frames = soundfile.info(stem).frames
        soundfile.write(stem, np.zeros((frames, 2)), 44100)
    said: list[str] = []
    scores = evaluate(whole.averaged, spoilt, "test", report=said.append)
    assert not any(scores["model"].values())
    assert len(said) == 2
    assert first.name in said[0]
    assert "differ in length" in said[0]
    assert "silent" in said[1]


def test_the_next_leg_goes_on_with_another_recipe_and_says_so(corpus: Path, tmp_path: Path) -> None:
    train(corpus, tmp_path / "state", RECIPE, stop_at=2, report=_silently)
    other = Recipe(steps=4, seed=9, items=1, seconds=0.5, learning_rate=1e-4)
    train(corpus, tmp_path / "state", other, next_leg=True, stop_at=3, report=_silently)
    run = train(corpus, tmp_path / "state", other, report=_silently)
    assert run.step == 4
    assert run.recipe.begun == 2
    main(["--state", str(tmp_path / "state"), "--steps", "0", "--export", str(tmp_path / "out")])
    legs = json.loads((tmp_path / "out" / "config.json").read_text())["legs"]
    assert [(leg["begun"], leg["steps"], leg["seed"]) for leg in legs] == [(0, 2, 3), (2, 4, 9)]
    assert [leg["learning_rate"] for leg in legs] == [RECIPE.learning_rate, 1e-4]
    with pytest.raises(ValueError, match="from seed 9, not 3"):
        train(corpus, tmp_path / "state", RECIPE, report=_silently)


def test_one_command_trains_and_exports(corpus: Path, tmp_path: Path) -> None:
    recipe = ["--steps", "2", "--seed", "3", "--items", "1", "--seconds", "0.5"]
    folders = ["--corpus", str(corpus), "--state", str(tmp_path / "state")]
    main([*folders, *recipe, "--export", str(tmp_path / "out")])
    assert json.loads((tmp_path / "out" / "config.json").read_text())["steps"] == 2
    load_exported(tmp_path / "out")


def test_the_rate_falls_within_its_leg() -> None:
    recipe = Recipe(steps=1200, seed=1, learning_rate=1e-3, falling=0.5, begun=200)
    assert recipe.rate_at(200) == pytest.approx(1e-5)
    assert recipe.rate_at(400) == pytest.approx(1e-3)
    assert recipe.rate_at(950) == pytest.approx(0.5e-3)
    assert recipe.rate_at(1200) == pytest.approx(2e-5)


def test_the_log_is_kept_by_step(corpus: Path, tmp_path: Path) -> None:
    recipe = Recipe(steps=51, seed=3, items=1, seconds=0.1)
    train(corpus, tmp_path, recipe, report=_silently)
    (entry,) = read_log(tmp_path)
    assert entry["step"] == 50
    assert entry["loss"] > 0
    assert entry["learning_rate"] == recipe.rate_at(49)
    assert entry["cpu_seconds"] > 0
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 70, "loss": 1}\n{"step": 80, "lo')
    Log(tmp_path, 51)
    assert read_log(tmp_path) == [entry]
    export_log(tmp_path, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "training.jsonl").read_text()) == entry


def test_a_long_log_is_exported_thin_and_to_its_end(tmp_path: Path) -> None:
    log = Log(tmp_path, 0)
    for step in range(1000):
        log.write({"step": step, "loss": 1.0})
    log.write({"step": 1000, "valid_sdr_db": {}})
    export_log(tmp_path, tmp_path / "out", most=100)
    kept = [json.loads(x) for x in (tmp_path / "out" / "training.jsonl").read_text().splitlines()]
    assert len(kept) == 101
    assert [entry["step"] for entry in kept[-2:]] == [999, 1000]


def test_a_state_that_cannot_be_written_leaves_the_one_before(
    corpus: Path, whole: Run, tmp_path: Path
) -> None:
    """The process may write files of 1 MB: as on a full disk, a write fails midway."""
    train(corpus, tmp_path, RECIPE, stop_at=1, report=_silently)
    before = (tmp_path / "state.safetensors").read_bytes()
    code = (
        "import resource, sys; from pathlib import Path; import torch; torch.set_num_threads(1);"
        "from workers.training.separator import main;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000));"
        "main(['--corpus', sys.argv[1], '--state', sys.argv[2], '--steps', '4', '--seed', '3',"
        "'--items', '1', '--seconds', '0.5', '--stop-at', '2'])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(corpus), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "state of step 2 could not be written" in result.stderr
    assert (tmp_path / "state.safetensors").read_bytes() == before
    assert not list(tmp_path.glob("*.draft"))
    assert _same(train(corpus, tmp_path, RECIPE, report=_silently), whole)


def test_a_folder_that_cannot_be_made_is_said(whole: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateNotSaved, match="could not be written"):
        whole.save(tmp_path / "file" / "state")
