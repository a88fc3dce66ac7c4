"""Training of a generator: batches from a step alone, runs that resume to the same weights."""

import json
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from safetensors.torch import load_file

from workers.regeneration.conditioning import (
    CHROMA_BINS,
    ENERGY_ROWS,
    FEATURES,
    MEL_BANDS,
    ContextConfig,
    features_of,
    frame_energies,
)
from workers.regeneration.controls import UnknownControl
from workers.regeneration.delay import undelay
from workers.regeneration.model import ConditionedMusicgen, GeneratorConfig, load_generator
from workers.training.data.corpus import load_piece
from workers.training.generator.batches import (
    Batch,
    roots_of,
    told_of,
    training_batch,
    transposed,
    validation_batch,
)
from workers.training.generator.beginning import CannotBeginWith, begin_with
from workers.training.generator.command import export
from workers.training.generator.degradation import clean_context, degraded_context
from workers.training.generator.examples import (
    CodesOfAnotherCodec,
    Example,
    NoExamples,
    gather,
    gather_restyled,
    prepare,
)
from workers.training.generator.loop import (
    CURVE,
    STATE,
    Run,
    Schedule,
    StateNotSaved,
    TrainingDiverged,
    averaged,
    change_loss,
    codebook_losses,
    initialise,
    root_loss,
    train,
    weighted,
)
from workers.training.generator.separated import Separations
from workers.training.separator import load_exported, separate

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
    controls=("density", "fills", "swing"),
)


def examples(count: int = 3, frames: int = 90) -> list[Example]:
    """Drums that hit exactly where the context has energy: there is something to learn."""
    made = []
    for number in range(count):
        rng = np.random.default_rng(number)
        hits = rng.random(frames) < 0.25
        powers = np.full((4, ENERGY_ROWS, frames), -12.0, np.float16)
        powers[1:, :, hits] = -2.0
        powers[0, :, hits] = -3.0
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
    pairs += [(a.columns, b.columns), (a.targets, b.targets), (a.roots, b.roots)]
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


def labelled(density: str = "busy") -> list[Example]:
    said = {"drums": {"density": density, "fills": True, "swing": False}}
    return [replace(e, meta={**e.meta, "controls": said}) for e in examples()]


def test_controls_are_told_as_the_piece_says_and_left_out_independently() -> None:
    rows = torch.cat(
        [
            training_batch(CONFIG, labelled(), size=4, seed=5, step=step).window.controls
            for step in range(60)
        ]
    )
    for index, (told, untold) in enumerate([(2, 3), (1, 2), (0, 2)]):
        assert set(rows[:, index].tolist()) == {told, untold}
    untold = rows == torch.tensor(CONFIG.untold)
    kinds = {tuple(row) for row in untold.tolist()}
    assert len(kinds) == 8
    # About half of all: three tenths know nothing of the playing, and three tenths of the rest.
    assert 0.4 < float(untold.float().mean()) < 0.65


def test_a_piece_without_labels_and_of_an_unknown_style_tells_nothing() -> None:
    example = replace(examples(1)[0], meta={"style": "polka"})
    assert told_of(CONFIG, example) == (len(CONFIG.styles), CONFIG.untold)


def test_a_label_that_is_no_value_is_refused() -> None:
    with pytest.raises(UnknownControl, match="density"):
        told_of(CONFIG, labelled("loud")[0])


def test_separated_contexts_are_heard_about_as_often_as_wanted() -> None:
    """Drums' energy reaches a context only through separated ones here: they alone hold it."""
    quiet = np.full((ENERGY_ROWS, 90), -12.0, np.float16)
    quiet[5] = 9.0
    made = [replace(e, separated=quiet if n else None) for n, e in enumerate(examples())]
    heard = 0
    for step in range(100):
        batch = training_batch(CONFIG, made, size=4, seed=5, step=step)
        loudest = batch.window.features[:, :MEL_BANDS].mean(dim=2).argmax(dim=1)
        heard += int((loudest == 5).sum())
    assert 0.2 < heard / 400 < 0.4


def test_validation_with_separated_contexts_is_of_the_pieces_that_have_one() -> None:
    made = [replace(e, separated=e.log_powers[1] if n else None) for n, e in enumerate(examples())]
    batch = validation_batch(CONFIG, made, "separated")
    assert batch.columns.shape[0] == 2
    with pytest.raises(ValueError, match="separated"):
        validation_batch(CONFIG, examples(), "separated")


def test_validation_that_is_told_knows_style_and_controls() -> None:
    batch = validation_batch(CONFIG, labelled(), "told")
    assert batch.window.style.tolist() == [0, 1, 0]
    assert batch.window.controls.tolist() == [[2, 1, 0]] * 3


def test_a_restyled_part_is_always_told_its_style_and_others_as_often_as_before() -> None:
    plain = [replace(example, meta={"style": "rock"}) for example in examples()]
    made = plain + [replace(e, meta={"style": "ballad"}, restyled=True) for e in plain]
    styles, heard = [], []
    for step in range(120):
        batch = training_batch(CONFIG, made, size=4, seed=5, step=step)
        styles += batch.window.style.tolist()
        heard += batch.window.present.amax(dim=1).tolist()
    told = styles.count(CONFIG.styles.index("ballad")) / len(styles)
    untold = styles.count(len(CONFIG.styles)) / len(styles)
    assert 0.33 < told < 0.47
    assert 0.15 < untold < 0.35
    deaf = [h for style, h in zip(styles, heard, strict=True) if style == 1 and not h]
    assert 0.03 < len(deaf) / styles.count(1) < 0.2
    alone = [training_batch(CONFIG, plain, 2, 5, step) for step in range(3)]
    assert all(same(batch, training_batch(CONFIG, plain, 2, 5, s)) for s, batch in enumerate(alone))


def test_restyled_parts_stand_beside_the_stems_of_their_piece(tmp_path: Path) -> None:
    whole = [replace(e, separated=e.log_powers[1]) for e in examples()]
    for number, meta in ((0, {"style": "ballad"}), (2, {"style": "rock"})):
        folder = tmp_path / "train-restyled" / f"{number:06d}"
        folder.mkdir(parents=True)
        (folder / "piece.json").write_text(json.dumps(meta))
    codes = tmp_path / "codes" / "train-restyled"
    codes.mkdir(parents=True)
    np.savez(codes / "000000.npz", codes=np.full((2, 80), 7, np.int16), codec=np.array("d"))
    (found,) = gather_restyled(tmp_path, whole, tmp_path / "codes", "d")
    assert (found.name, found.meta, found.restyled) == ("000000", {"style": "ballad"}, True)
    assert found.codes.shape == (2, 80)
    assert np.array_equal(found.log_powers, whole[0].log_powers[:, :, :80])
    assert found.separated is not None
    assert found.separated.shape[1] == 80
    with pytest.raises(CodesOfAnotherCodec):
        gather_restyled(tmp_path, whole, tmp_path / "codes", "another")


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
    both = transposed(features, codes, 3, pitches=96)
    assert both is not None
    moved, line = both
    assert line.tolist() == [[46, 0, 50], [5, 6, 7]]
    assert torch.equal(moved[-CHROMA_BINS:][3:], features[-CHROMA_BINS:][:-3])
    assert torch.equal(moved[:MEL_BANDS], features[:MEL_BANDS])


@pytest.mark.parametrize(("pitch", "semitones"), [(92, 3), (4, -2)])
def test_a_line_that_would_leave_the_grid_stays(pitch: int, semitones: int) -> None:
    features, codes = torch.randn(FEATURES, 1), torch.tensor([[pitch], [1]])
    assert transposed(features, codes, semitones, pitches=96) is None


ROOTED = replace(CONFIG, part="bass", context=replace(CONFIG.context, roots=True))


def harmonised(count: int = 3, frames: int = 90) -> list[Example]:
    """Pieces whose second half is a whole tone above the first, with a chord's root to know."""
    made = []
    for number, example in enumerate(examples(count, frames)):
        example.log_powers[:, -CHROMA_BINS:] = -12.0
        halves = (number % 12, slice(0, 45)), ((number + 2) % 12, slice(45, frames))
        for root, where in halves:
            for interval in (0, 4, 7):
                example.log_powers[2:, MEL_BANDS + (root + interval) % 12, where] = -2.0
        meta = {
            "style": "rock",
            "chords": [
                {"start": where.start / 50, "end": where.stop / 50, "root": root}
                for root, where in halves
            ],
        }
        made.append(replace(example, meta=meta))
    return made


def test_roots_lie_on_their_frames_and_move_with_the_key() -> None:
    piece = harmonised(1)[0]
    assert roots_of(piece).tolist() == [0] * 45 + [2] * 45
    assert roots_of(piece, 11).tolist() == [11] * 45 + [1] * 45
    assert (roots_of(replace(piece, meta={})) == -100).all()


def test_roots_of_a_batch_stand_where_its_features_do() -> None:
    unheard = 0
    for step in range(8):
        batch = training_batch(ROOTED, harmonised(), size=2, seed=5, step=step, pitches=96)
        assert batch.roots.shape == batch.window.present.shape
        chroma = batch.window.features[:, -CHROMA_BINS:]
        for row in range(2):
            known = batch.roots[row] >= 0
            if not bool(batch.window.present[row].any()):
                unheard += 1
                assert not known.any()
                continue
            sounding = chroma[row, batch.roots[row][known], known.nonzero()[:, 0]]
            assert float(sounding.mean()) > 0.5
    assert unheard


def test_roots_are_learned_beside_the_codes() -> None:
    torch.manual_seed(0)
    model = ConditionedMusicgen(ROOTED)
    initialise(model)
    run = Run(model, Schedule(60, peak=5e-3, warmup=2))
    batch = validation_batch(ROOTED, harmonised(), "true")
    before = float(root_loss(run.model, batch).detach())
    for step in range(60):
        run.learn(training_batch(ROOTED, harmonised(), 2, 5, step), torch.float32)
    assert float(root_loss(run.model, batch).detach()) < 0.5 * before
    assert float(root_loss(fresh().model, batch)) == 0.0


def test_where_the_root_changes_counts_more() -> None:
    roots = torch.tensor([[-100, 3, 3, 3, 3, 5, 5, -100, 7, 7, 7, 7, 7, 7, 7, 7]])
    margin, frames = 2, 12
    cells = torch.arange(float(frames + 1)).expand(1, 2, -1)
    known = torch.ones_like(cells, dtype=torch.bool)
    # Frame 3 of the window is the first with another root; eight frames count from there on.
    assert float(change_loss(cells, known, roots, margin)) == pytest.approx(np.mean(range(3, 11)))
    kept = known.clone()
    kept[:, :, 3:9] = False
    assert float(change_loss(cells, kept, roots, margin)) == pytest.approx(np.mean([9, 10]))
    assert float(change_loss(cells, known, torch.full_like(roots, 4), margin)) == 0.0
    assert float(change_loss(cells, known, torch.full_like(roots, -100), margin)) == 0.0


def exported(model: ConditionedMusicgen, folder: Path) -> Path:
    export(model, folder, {"step": 7})
    return folder


def test_a_run_begins_by_playing_as_the_checkpoint_did(tmp_path: Path) -> None:
    plain = replace(ROOTED, context=CONFIG.context)
    torch.manual_seed(3)
    old = ConditionedMusicgen(plain)
    initialise(old)
    torch.nn.init.normal_(old.additive.weight, std=0.3)
    new = ConditionedMusicgen(ROOTED)
    said = begin_with(new, exported(old, tmp_path))
    assert said["training"] == {"step": 7}
    batch = validation_batch(plain, harmonised(), "true")
    with torch.no_grad():
        torch.testing.assert_close(
            codebook_losses(new, batch), codebook_losses(old, batch), atol=2e-3, rtol=2e-3
        )


@pytest.mark.parametrize(
    "other",
    [
        replace(ROOTED, part="drums"),
        replace(ROOTED, styles=("rock", "polka")),
        replace(ROOTED, layers=2),
        replace(ROOTED, width=32),
    ],
    ids=["part", "styles", "layers", "width"],
)
def test_a_checkpoint_that_does_not_fit_is_no_beginning(
    other: GeneratorConfig, tmp_path: Path
) -> None:
    folder = exported(ConditionedMusicgen(other), tmp_path)
    with pytest.raises(CannotBeginWith):
        begin_with(ConditionedMusicgen(ROOTED), folder)


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


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """One piece of a corpus on disk, its band powers in the cache, its codes beside it."""
    add_piece(tmp_path, "000001")
    return tmp_path


def add_piece(place: Path, name: str, cached: bool = True) -> Path:
    folder = place / "corpus" / "train" / name
    folder.mkdir(parents=True)
    (folder / "piece.json").write_text('{"style": "rock"}')
    made = examples(1)[0]
    if cached:
        powers = place / "cache" / "powers" / "train"
        powers.mkdir(parents=True, exist_ok=True)
        np.save(powers / f"{name}.npy", made.log_powers[:, :, :80])
    codes = place / "codes" / "train"
    codes.mkdir(parents=True, exist_ok=True)
    np.savez(codes / f"{name}.npz", codes=made.codes, codec=np.array("abc"))
    return folder


def stems(folder: Path, **seconds: float) -> None:
    """Noise for every stem, 1.6 s of it unless said otherwise."""
    rng = np.random.default_rng(1)
    for stem in ("drums", "bass", "other", "vocals"):
        samples = rng.normal(0, 0.1, (round(seconds.get(stem, 1.6) * 44_100), 2))
        soundfile.write(folder / f"{stem}.flac", samples, 44_100)


def gathered(place: Path, digest: str = "abc", split: str = "train") -> list[Example]:
    return gather(place / "corpus", split, place / "codes", digest, place / "cache", part="drums")


def test_codes_and_powers_of_a_piece_are_cut_to_one_length(corpus: Path) -> None:
    found = gathered(corpus)
    assert [example.name for example in found] == ["000001"]
    assert found[0].frames == 80
    assert found[0].powers().shape == (4, ENERGY_ROWS, 80)


def test_codes_of_another_codec_are_refused(corpus: Path) -> None:
    with pytest.raises(CodesOfAnotherCodec, match="abc"):
        gathered(corpus, digest="other")


def test_a_split_without_codes_is_refused(corpus: Path) -> None:
    with pytest.raises(NoExamples):
        gathered(corpus, split="valid")


def without_codes(place: Path) -> None:
    (place / "codes" / "train" / "000002.npz").unlink()


def half_of_the_codes(place: Path) -> None:
    path = place / "codes" / "train" / "000002.npz"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def codes_that_are_no_codes(place: Path) -> None:
    path = place / "codes" / "train" / "000002.npz"
    np.savez(path, codes=np.full((2, 90), 0.5), codec=np.array("abc"))


def silent_drums(place: Path) -> None:
    path = place / "cache" / "powers" / "train" / "000002.npy"
    powers = np.load(path)
    powers[0] = -27.6
    np.save(path, powers)


def stems_of_two_lengths(place: Path) -> None:
    (place / "cache" / "powers" / "train" / "000002.npy").unlink()
    stems(place / "corpus" / "train" / "000002", bass=1.2)


def a_stem_that_is_noise_on_disk(place: Path) -> None:
    (place / "cache" / "powers" / "train" / "000002.npy").unlink()
    folder = place / "corpus" / "train" / "000002"
    stems(folder)
    (folder / "vocals.flac").write_bytes(b"fLaC" + bytes(range(256)))


def no_stems(place: Path) -> None:
    (place / "cache" / "powers" / "train" / "000002.npy").unlink()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (without_codes, "no codes"),
        (half_of_the_codes, "codes cannot be read"),
        (codes_that_are_no_codes, "codes are float64"),
        (silent_drums, "drums are silent"),
        (stems_of_two_lengths, "different length"),
        (a_stem_that_is_noise_on_disk, "stems cannot be read"),
        (no_stems, "stems cannot be read"),
    ],
)
def test_a_piece_that_cannot_be_used_is_named_and_left_out(
    corpus: Path, caplog: pytest.LogCaptureFixture, harm: Callable[[Path], None], said: str
) -> None:
    add_piece(corpus, "000002")
    assert [example.name for example in gathered(corpus)] == ["000001", "000002"]
    harm(corpus)
    with caplog.at_level("WARNING"):
        assert [example.name for example in gathered(corpus)] == ["000001"]
    assert any("train/000002" in m and said in m for m in caplog.messages)


def test_a_broken_cache_is_computed_anew(corpus: Path) -> None:
    stems(add_piece(corpus, "000002", cached=False))
    path = corpus / "cache" / "powers" / "train" / "000002.npy"
    first = gathered(corpus)[1].log_powers.copy()
    path.write_bytes(path.read_bytes()[:400])
    assert np.array_equal(gathered(corpus)[1].log_powers, first)


SEPARATOR = Path(__file__).parents[3] / "checkpoints" / "reprise-separator"


def test_what_the_separator_leaves_is_measured_once_and_kept_by_its_weights(corpus: Path) -> None:
    stems(add_piece(corpus, "000002", cached=False))
    (corpus / "corpus" / "train" / "000001").rename(corpus / "corpus" / "train" / "000009")
    separations = Separations(SEPARATOR, pieces=1)
    found = gather(
        corpus / "corpus", "train", corpus / "codes", "abc", corpus / "cache", part="drums",
        separations=separations,
    )  # fmt: skip
    assert [e.name for e in found] == ["000002"]
    assert found[0].separated is not None
    assert found[0].separated.shape == (ENERGY_ROWS, 80)
    kept = separations.path(corpus / "cache", "train", "000002")
    assert separations.digest[:16] in str(kept)
    changed = kept.stat().st_mtime_ns
    prepare(corpus / "corpus", "train", corpus / "cache", separations)
    assert kept.stat().st_mtime_ns == changed
    piece = load_piece(corpus / "corpus" / "train" / "000002")
    drums, bass, other, vocals = separate(load_exported(SEPARATOR), piece.mixture())
    for row, played in enumerate((bass + other + vocals, drums + other + vocals)):
        mono = soxr.resample(played.mean(axis=0), 44_100, 16_000)
        expected = frame_energies(torch.from_numpy(mono)[None], 16_000)[0]
        found_powers = torch.from_numpy(np.load(kept)[row].astype(np.float32)).exp()
        torch.testing.assert_close(found_powers, expected, rtol=0.02, atol=1e-9)
    assert torch.equal(
        found[0].separated_powers(),
        torch.from_numpy(np.load(kept)[0].astype(np.float32)).exp(),
    )
