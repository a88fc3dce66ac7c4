"""What windows hold: targets, controls, contexts, roots; and how contexts are degraded."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.generator_windows import CONFIG, ROOTED, draw, examples, fresh, harmonised, same
from workers.regeneration.conditioning import (
    CHROMA_BINS,
    ENERGY_ROWS,
    FEATURES,
    MEL_BANDS,
    features_of,
)
from workers.regeneration.controls import UnknownControl
from workers.regeneration.delay import undelay
from workers.regeneration.model import ConditionedMusicgen
from workers.training.generator.batches import (
    roots_of,
    told_of,
    training_batch,
    transposed,
    validation_batch,
)
from workers.training.generator.degradation import clean_context, degraded_context
from workers.training.generator.examples import (
    CodesOfAnotherCodec,
    Example,
    gather_restyled,
)
from workers.training.generator.loop import (
    Run,
    Schedule,
    change_loss,
    initialise,
    root_loss,
)


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
