"""Training of a generator: batches from a step alone, runs that resume to the same weights."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from workers.regeneration.conditioning import (
    CHROMA_BINS,
    ENERGY_ROWS,
    FEATURES,
    MEL_BANDS,
    ContextConfig,
    features_of,
)
from workers.regeneration.delay import undelay
from workers.regeneration.model import ConditionedMusicgen, GeneratorConfig, load_generator
from workers.training.generator.batches import (
    Batch,
    training_batch,
    transposed,
    validation_batch,
)
from workers.training.generator.command import export
from workers.training.generator.degradation import clean_context, degraded_context
from workers.training.generator.examples import CodesOfAnotherCodec, Example, NoExamples, gather
from workers.training.generator.loop import (
    STATE,
    Run,
    Schedule,
    TrainingDiverged,
    averaged,
    codebook_losses,
    initialise,
    train,
    weighted,
)

CONFIG = GeneratorConfig(
    part="drums",
    codec="tiny",
    styles=("rock", "ballad"),
    codebooks=2,
    codebook_size=8,
    width=24,
    layers=1,
    heads=2,
    feed_forward=48,
    window=40,
    margin=6,
    overlap=10,
    chroma_hop=10,
    context=ContextConfig(width=16, blocks=1, heads=2),
)


def examples(count: int = 3, frames: int = 90) -> list[Example]:
    """Drums that hit exactly where the context has energy: there is something to learn."""
    made = []
    for number in range(count):
        rng = np.random.default_rng(number)
        hits = rng.random(frames) < 0.25
        powers = np.full((4, ENERGY_ROWS, frames), -12.0, np.float16)
        powers[1:, :, hits] = -2.0
        codes = np.stack([np.where(hits, 6, 1), np.where(hits, 3, 2)]).astype(np.int16)
        meta = {"style": CONFIG.styles[number % 2]}
        made.append(Example(f"{number:06d}", codes, powers, meta))
    return made


def fresh(steps: int = 8, seed: int = 0) -> Run:
    torch.manual_seed(seed)
    model = ConditionedMusicgen(CONFIG)
    initialise(model)
    return Run(model, Schedule(steps, warmup=2))


def draw(step: int) -> Batch:
    return training_batch(CONFIG, examples(), size=2, seed=5, step=step)


def same(a: Batch, b: Batch) -> bool:
    pairs = [(getattr(a.window, n), getattr(b.window, n)) for n in vars(a.window)]
    pairs += [(a.columns, b.columns), (a.targets, b.targets)]
    return all(torch.equal(x, y) for x, y in pairs)


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    torch.manual_seed(1)
    first = draw(3)
    torch.manual_seed(2)
    assert same(first, draw(3))
    assert not same(first, draw(4))


def test_targets_are_the_codes_that_are_not_kept() -> None:
    seen_kept = False
    for step in range(12):
        batch = draw(step)
        targets, codes = undelay(batch.targets), undelay(batch.columns)
        hidden = batch.window.kept_mask[:, None].expand_as(codes)
        assert (targets[hidden] == -100).all()
        assert torch.equal(targets[~hidden], codes[~hidden])
        assert batch.window.features.shape == (2, FEATURES, 52)
        seen_kept |= bool(hidden.any())
    assert seen_kept


def test_windows_at_the_edges_know_that_the_song_ends_there() -> None:
    presence = torch.cat([draw(step).window.present for step in range(60)])
    at_start = (presence[:, :6] == 0).all(dim=1) & (presence[:, 6:] == 1).all(dim=1)
    at_end = (presence[:, -6:] == 0).all(dim=1) & (presence[:, :-6] == 1).all(dim=1)
    untold = (presence == 0).all(dim=1)
    assert at_start.any()
    assert at_end.any()
    assert 0 < int(untold.sum()) < 40


def test_the_shuffled_validation_has_other_contexts_and_the_same_targets() -> None:
    true, other, none = (
        validation_batch(CONFIG, examples(), kind) for kind in ("true", "shuffled", "none")
    )
    assert torch.equal(true.targets, other.targets)
    assert torch.equal(true.window.features[1], other.window.features[0])
    assert int(none.window.present.sum()) == 0
    assert (true.window.style == len(CONFIG.styles)).all()


def test_a_context_never_holds_the_part_it_is_for() -> None:
    powers = torch.zeros(4, ENERGY_ROWS, 10)
    powers[0] = 1e6
    assert float(clean_context(powers, "drums").sum()) == 0.0
    assert float(clean_context(powers, "bass").min()) == 1e6


def test_degradations_are_drawn_from_the_generator_and_stay_finite() -> None:
    powers = examples()[0].powers()
    contexts = [degraded_context(powers, "drums", np.random.default_rng(s)) for s in range(40)]
    again = degraded_context(powers, "drums", np.random.default_rng(7))
    assert torch.equal(contexts[7], again)
    assert len({float(c.sum()) for c in contexts}) > 30
    for context in contexts:
        assert context.shape == (ENERGY_ROWS, 90)
        assert float(context.min()) >= 0.0
        assert float(context.sum()) > 0.0
        assert torch.isfinite(features_of(context[None])).all()


def test_a_bass_line_and_its_harmony_move_together() -> None:
    features = torch.randn(FEATURES, 3)
    codes = torch.tensor([[40, 0, 44], [5, 6, 7]])
    moved, line = transposed(features, codes, 3, pitches=96)
    assert line.tolist() == [[46, 0, 50], [5, 6, 7]]
    assert torch.equal(moved[-CHROMA_BINS:][3:], features[-CHROMA_BINS:][:-3])
    assert torch.equal(moved[:MEL_BANDS], features[:MEL_BANDS])


@pytest.mark.parametrize(("pitch", "semitones"), [(92, 3), (4, -2)])
def test_a_line_that_would_leave_the_grid_stays(pitch: int, semitones: int) -> None:
    features, codes = torch.randn(FEATURES, 1), torch.tensor([[pitch], [1]])
    moved, line = transposed(features, codes, semitones, pitches=96)
    assert torch.equal(line, codes)
    assert torch.equal(moved, features)


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


@pytest.fixture
def corpus(tmp_path: Path) -> Iterator[Path]:
    """One piece of a corpus on disk, its band powers in the cache, its codes beside it."""
    folder = tmp_path / "corpus" / "train" / "000001"
    folder.mkdir(parents=True)
    (folder / "piece.json").write_text('{"style": "rock"}')
    made = examples(1)[0]
    powers = tmp_path / "cache" / "powers" / "train"
    powers.mkdir(parents=True)
    np.save(powers / "000001.npy", made.log_powers[:, :, :80])
    codes = tmp_path / "codes" / "train"
    codes.mkdir(parents=True)
    np.savez(codes / "000001.npz", codes=made.codes, codec=np.array("abc"))
    yield tmp_path


def test_codes_and_powers_of_a_piece_are_cut_to_one_length(corpus: Path) -> None:
    found = gather(corpus / "corpus", "train", corpus / "codes", "abc", corpus / "cache")
    assert [example.name for example in found] == ["000001"]
    assert found[0].frames == 80
    assert found[0].powers().shape == (4, ENERGY_ROWS, 80)


def test_codes_of_another_codec_are_refused(corpus: Path) -> None:
    with pytest.raises(CodesOfAnotherCodec, match="abc"):
        gather(corpus / "corpus", "train", corpus / "codes", "other", corpus / "cache")


def test_a_split_without_codes_is_refused(corpus: Path) -> None:
    with pytest.raises(NoExamples):
        gather(corpus / "corpus", "valid", corpus / "codes", "abc", corpus / "cache")
