"""A step of one width gives what the block-wise step gives, whoever is in the batch."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from generator_fixtures import tiny_generator, window_of
from stock_fixtures import TINY, saved, stock
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from workers.regeneration.batch import Batch, Ended
from workers.regeneration.conditioning import ContextConfig
from workers.regeneration.decoder.cache import Block, NoRoom
from workers.regeneration.decoder.decoder import Decoder, UnsupportedDecoder
from workers.regeneration.decoder.graphed import SHORTEST, FixedStep
from workers.regeneration.guidance import Sampling
from workers.regeneration.model import ConditionedMusicgen
from workers.regeneration.sampling import NonFiniteLogits, Sequence, of_window
from workers.regeneration.stock import StockGenerator, load_stock

ROWS, POSITIONS = 24, 150
NAN = float("nan")
GREEDY = Sampling(temperature=0.0)


@pytest.fixture(scope="module", params=["plain", "intervals"])
def model(request: pytest.FixtureRequest) -> ConditionedMusicgen:
    if request.param == "plain":
        return tiny_generator(window=120)
    made = tiny_generator(
        window=120,
        pitch_grid=(24.0, 12),
        context=ContextConfig(width=24, blocks=1, heads=2, roots=True),
    )
    assert made.intervals is not None
    torch.nn.init.normal_(made.intervals.choice.weight, std=0.2)
    return made


@pytest.fixture(scope="module")
def decoder(model: ConditionedMusicgen) -> Decoder:
    return Decoder(model.decoder, ROWS)


def sequence_of(
    model: ConditionedMusicgen, candidates: int, frames: int, seed: int, sampling: Sampling,
    *, kept: bool = False,
) -> Sequence:  # fmt: skip
    window = window_of(model, candidates, frames, seed)
    if not kept:
        window = replace(window, kept_mask=torch.zeros_like(window.kept_mask))
    generators = [torch.Generator().manual_seed(100 * seed + n) for n in range(candidates)]
    return of_window(model, window, sampling, generators)


SAMPLINGS = [
    GREEDY,
    Sampling(2.0, 0.0, temperature=0.0),
    Sampling(1.0, 0.0, temperature=0.0),
    Sampling(1.75, 5.0, temperature=0.7, top_k=5),
    Sampling(1.75, 5.0, temperature=1.3, top_k=5, top_p=0.8),
    Sampling(3.0, 1.5, temperature=1.0, top_k=0),
    Sampling(3.0, 1.5, temperature=1.1, top_k=0, top_p=0.5),
    Sampling(1.75, 5.0, temperature=0.9, top_k=5),
]


def several(model: ConditionedMusicgen) -> list[tuple[int, Sequence]]:
    """Sequences of all kinds, each with the step before which it joins."""
    return [
        (3 * n, sequence_of(model, 1 + n % 2, frames, n, told, kept=bool(n % 3)))
        for n, (frames, told) in enumerate(
            zip((25, 40, 90, 7, 31, 60, 1, 18), SAMPLINGS, strict=True)
        )
    ]  # fmt: skip


@torch.inference_mode()
def spoil(batch: Batch) -> None:
    """What rows of nobody hold is no number."""
    owned = {
        row for block in batch.cache.owned for row in range(block.first, block.first + block.rows)
    }
    idle = [row for row in range(batch.cache.rows) if row not in owned]
    for layer in batch.cache.both:
        layer[:, idle] = NAN
    if batch._fixed is not None:
        step = batch._fixed._step
        for spoilt in (step.added, step.states, step.logits):
            spoilt[idle] = NAN
        for looked in step._looked_at:
            looked[:, idle] = NAN


def run(batch: Batch, joining: list[tuple[int, Sequence]]) -> dict[Sequence, Ended]:
    ended: dict[Sequence, Ended] = {}
    waiting, step = [pair for pair in joining if not pair[1].done], 0
    spoil(batch)
    while waiting or batch.busy:
        while waiting and waiting[0][0] <= step:
            try:
                batch.join(waiting[0][1])
            except NoRoom:
                assert batch.busy
                break
            waiting.pop(0)
        for left in batch.advance():
            ended[left.sequence] = left
            spoil(batch)
        step += 1
    return ended


def watch(sequence: Sequence, seen: list[Tensor]) -> None:
    """Write down the guided model's logits of every column, in order."""
    scores = sequence.scores

    def scoring(states: Tensor, logits: Tensor) -> Tensor:
        seen.append(logits.clone())
        return scores(states, logits)

    sequence.scores = scoring  # type: ignore[method-assign]


def test_jobs_that_join_and_leave_get_the_logits_and_codes_of_the_blockwise_step(
    model: ConditionedMusicgen, decoder: Decoder
) -> None:
    blockwise, fixed = several(model), several(model)
    seen: list[tuple[list[Tensor], list[Tensor]]] = [([], []) for _ in fixed]
    for (_, one), (_, other), (mine, others) in zip(blockwise, fixed, seen, strict=True):
        watch(one, mine)
        watch(other, others)
    for batch, joining in ((Batch(decoder, POSITIONS, fixed=False), blockwise),
                           (Batch(decoder, POSITIONS, fixed=True), fixed)):  # fmt: skip
        ended = run(batch, joining)
        assert [left.error for left in ended.values() if left.error] == []
        assert batch.cache.free == ROWS
    for (_, one), (_, other), (mine, others) in zip(blockwise, fixed, seen, strict=True):
        assert torch.equal(one.codes, other.codes)
        assert len(mine) == len(others)
        for expected, found in zip(mine, others, strict=True):
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    # Longer than the shortest length, so that rows were seen to look back on more than one.
    assert max(sequence.positions for _, sequence in fixed) > SHORTEST


def test_a_job_is_the_same_alone_and_among_others_bit_for_bit(
    model: ConditionedMusicgen, decoder: Decoder
) -> None:
    wanted = several(model)
    run(Batch(decoder, POSITIONS, fixed=True), wanted)
    for number, (_, sequence) in enumerate(wanted):
        alone = several(model)[number][1]
        run(Batch(decoder, POSITIONS, fixed=True), [(0, alone)])
        assert torch.equal(alone.codes, sequence.codes)


TEXTS = [
    ([[5, 6, 7, 8, 1], [9, 3, 1, 0, 0]], 12),
    ([[9, 1]], 20),
    ([[*range(3, 22), 1]], 9),
    ([[2, 1, 0, 0], [7, 7, 7, 1], [4, 1, 0, 0]], 15),
]


def told(ours: StockGenerator, tokens: list[list[int]], frames: int, guidance: float) -> Sequence:
    given = torch.tensor(tokens)
    generators = [torch.Generator().manual_seed(n) for n in range(len(tokens))]
    return ours.sequence(
        frames, generators, tokens=given, mask=(given != 0).long(), guidance=guidance,
        sampling=GREEDY,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["musicgen", "musicgen_melody"])
def test_what_is_looked_at_is_masked_row_by_row(kind: str, tmp_path: Path) -> None:
    """One text is longer than the room there was: it grows while others are being sampled."""
    ours = load_stock(saved(stock(kind, TINY), tmp_path / "stock"), rows=16)
    made = []
    for fixed in (False, True):
        joining = [
            (3 * n, told(ours, tokens, frames, guidance=1.0 if n == 1 else 3.0))
            for n, (tokens, frames) in enumerate(TEXTS)
        ]
        ended = run(Batch(ours.decoder, 100, fixed=fixed), joining)
        assert all(left.error is None for left in ended.values())
        made.append([sequence.codes for _, sequence in joining])
    for expected, found in zip(*made, strict=True):
        assert torch.equal(found, expected)


def test_rows_that_look_at_nothing_share_a_step_with_rows_that_do(tmp_path: Path) -> None:
    ours = load_stock(saved(stock("musicgen", TINY), tmp_path / "stock"), rows=8)
    alone = told(ours, [[5, 6, 1]], 12, 3.0)
    run(Batch(ours.decoder, 100, fixed=True), [(0, alone)])
    both = [(0, told(ours, [[5, 6, 1]], 12, 3.0)), (2, told(ours, [[4, 1]], 9, 3.0))]
    both[1][1].told = replace(both[1][1].told, looked_at=None, looked_at_mask=None)
    ended = run(Batch(ours.decoder, 100, fixed=True), both)
    assert all(left.error is None for left in ended.values())
    assert torch.equal(both[0][1].codes, alone.codes)


def test_a_decoder_that_looks_at_nothing_says_so(decoder: Decoder) -> None:
    cache = decoder.cache(20)
    block = cache.take(1)
    block.cross.append((torch.zeros(1), torch.zeros(1)))
    with pytest.raises(UnsupportedDecoder, match="no cross-attention"):
        FixedStep(decoder, cache).join(block)


def test_one_that_is_broken_ends_alone(model: ConditionedMusicgen, decoder: Decoder) -> None:
    sound, broken = (sequence_of(model, 2, 30, 5, Sampling(top_k=5)) for _ in range(2))
    alone = sequence_of(model, 2, 30, 5, Sampling(top_k=5))
    run(Batch(decoder, POSITIONS, fixed=True), [(0, alone)])
    assert broken.told.additive is not None
    with torch.inference_mode():
        broken.told.additive[:, 12] = NAN
    ended = run(Batch(decoder, POSITIONS, fixed=True), [(0, broken), (2, sound)])
    assert isinstance(ended[broken].error, NonFiniteLogits)
    assert "column 13 " in str(ended[broken].error)
    assert ended[sound].error is None
    assert torch.equal(sound.codes, alone.codes)


@pytest.mark.parametrize("after", ["run", "take"])
def test_a_step_that_fails_ends_only_those_that_fail_alone_too(
    model: ConditionedMusicgen, decoder: Decoder, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    """Wherever in the step it failed, nobody has gone on and nobody's codes are others'."""
    small, heavy = (sequence_of(model, rows, 30, 5 + rows, Sampling(top_k=5)) for rows in (1, 3))
    alone = sequence_of(model, 1, 30, 6, Sampling(top_k=5))
    run(Batch(decoder, POSITIONS, fixed=True), [(0, alone)])
    from workers.regeneration.drawing import Draws

    step, take = FixedStep.run, Draws.take

    def running(self: FixedStep, blocks: list[Block]) -> None:
        step(self, blocks)
        if after == "run" and any(b.rows == heavy.rows and b.filled > 20 for b in blocks):
            raise torch.OutOfMemoryError("no memory is left")

    def taking(self: Draws, *given: Tensor) -> Any:
        if after == "take" and heavy in self._sequences and heavy._next > 12:
            raise torch.OutOfMemoryError("no memory is left")
        return take(self, *given)

    monkeypatch.setattr(FixedStep, "run", running)
    monkeypatch.setattr(Draws, "take", taking)
    batch = Batch(decoder, POSITIONS, fixed=True)
    ended = run(batch, [(0, heavy), (1, small)])
    assert isinstance(ended[heavy].error, torch.OutOfMemoryError)
    assert ended[small].error is None
    assert torch.equal(small.codes, alone.codes)
    assert batch.cache.free == ROWS


class Shapes(TorchDispatchMode):
    """Every operation with the shapes of what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [tuple(a.shape) if isinstance(a, Tensor) else a for a in args]
        self.seen.append(f"{func} {[g for g in given if isinstance(g, tuple | int)]}")
        return func(*args, **(kwargs or {}))


def test_no_shape_of_a_step_depends_on_who_is_in_the_batch(
    model: ConditionedMusicgen, decoder: Decoder
) -> None:
    """What a captured graph rests on: the same operations on the same shapes, always."""
    batch, seen = Batch(decoder, POSITIONS, fixed=True), []
    assert batch._fixed is not None
    compute = batch._fixed._step._compute

    def watched(length: int) -> None:
        with Shapes() as shapes:
            compute(length)
        seen.append((length, shapes.seen))

    batch._fixed._step._compute = watched  # type: ignore[method-assign]
    run(batch, several(model))
    by_length = dict(seen)
    assert sorted(by_length) == batch._fixed._step.lengths()[: len(by_length)]
    assert len(by_length) > 1
    assert all(shapes == by_length[length] for length, shapes in seen)


def test_lengths_double_up_to_the_cache(decoder: Decoder) -> None:
    assert FixedStep(decoder, decoder.cache(40)).lengths() == [40]
    assert FixedStep(decoder, decoder.cache(64)).lengths() == [64]
    assert FixedStep(decoder, decoder.cache(300)).lengths() == [64, 128, 256, 300]


@pytest.mark.skipif(torch.cuda.is_available(), reason="here it could be captured")
def test_a_step_that_cannot_be_captured_is_launched_piece_by_piece(
    model: ConditionedMusicgen, decoder: Decoder, caplog: pytest.LogCaptureFixture
) -> None:
    batch, one, other = Batch(decoder, POSITIONS, fixed=True), several(model), several(model)
    assert batch._fixed is not None
    batch._fixed._step = FixedStep(decoder, batch.cache, capture=True)
    assert batch.steps == "one width"
    run(batch, one)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "could not be captured" in caplog.text
    assert batch.steps == "one width"
    run(Batch(decoder, POSITIONS, fixed=True), other)
    for (_, found), (_, expected) in zip(one, other, strict=True):
        assert torch.equal(found.codes, expected.codes)


def test_the_choice_is_the_devices_unless_said_otherwise(decoder: Decoder) -> None:
    assert Batch(decoder, 20).steps == "blocks"
    batch = Batch(decoder, 20, fixed=True)
    batch.prepare()
    assert batch.steps == "one width"
