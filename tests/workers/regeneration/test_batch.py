"""Continuous batching: who shares a batch changes nothing for anybody."""

import random
from dataclasses import dataclass, replace

import pytest
import torch
from generator_fixtures import tiny_generator, window_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workers.regeneration.batch import Batch, Ended, TooLarge, sampled
from workers.regeneration.decoder.cache import Block, KeyValues, NoRoom
from workers.regeneration.decoder.decoder import Decoder
from workers.regeneration.guidance import Sampling
from workers.regeneration.model import ConditionedMusicgen
from workers.regeneration.sampling import NonFiniteLogits, Sequence, of_window

ROWS, POSITIONS = 24, 64


@dataclass(frozen=True)
class Wanted:
    """A sequence as a test asks for it, made anew as often as it likes."""

    frames: int
    candidates: int
    seed: int
    kept: bool
    sampling: Sampling

    def made(self, model: ConditionedMusicgen) -> Sequence:
        window = window_of(model, self.candidates, self.frames, self.seed)
        if not self.kept:
            window = replace(window, kept_mask=torch.zeros_like(window.kept_mask))
        generators = [
            torch.Generator().manual_seed(1000 * self.seed + n) for n in range(self.candidates)
        ]
        return of_window(model, window, self.sampling, generators)


SAMPLINGS = st.builds(
    Sampling,
    guidance_context=st.sampled_from([1.0, 1.75, 3.0]),
    guidance_style=st.sampled_from([0.0, 1.5, 5.0]),
    temperature=st.sampled_from([0.0, 0.7, 1.3]),
    top_k=st.sampled_from([0, 1, 5]),
    top_p=st.sampled_from([1.0, 0.8]),
)
WANTED = st.builds(
    Wanted,
    frames=st.integers(1, 25),
    candidates=st.integers(1, 3),
    seed=st.integers(0, 2**20),
    kept=st.booleans(),
    sampling=SAMPLINGS,
)


class Cancelled(Exception):
    """What a test cancels with."""


def cancelling(sequence: Sequence, step: int) -> None:
    """Let a sequence be cancelled before one of its steps."""
    steps = iter(range(1, step + 1))
    tell = sequence.tell

    def telling() -> None:
        if next(steps, None) is None:
            raise Cancelled
        tell()

    sequence.tell = telling  # type: ignore[method-assign]


def watch(sequence: Sequence, seen: list[tuple[Sequence, int, Tensor]]) -> None:
    """Write down the decoder's logits [rows, K, V] of every column that is drawn."""
    scores = sequence.scores

    def scored(states: Tensor, logits: Tensor) -> Tensor:
        seen.append((sequence, sequence._next, logits))
        return scores(states, logits)

    sequence.scores = scored  # type: ignore[method-assign]


def run(batch: Batch, joining: list[tuple[int, Sequence]]) -> dict[Sequence, Ended]:
    """Let each sequence join at its step or as soon as there is room; who ended, and how."""
    ended: dict[Sequence, Ended] = {}
    waiting, step = sorted(joining, key=lambda pair: pair[0]), 0
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
        step += 1
    return ended


@pytest.fixture(scope="module")
def model() -> ConditionedMusicgen:
    return tiny_generator()


@pytest.fixture(scope="module")
def decoder(model: ConditionedMusicgen) -> Decoder:
    return Decoder(model.decoder, ROWS)


@given(st.lists(WANTED, min_size=8, max_size=8), st.integers(0, 2**20))
@settings(deadline=None, max_examples=15)
def test_a_jobs_samples_are_bit_identical_alone_and_among_seven_others(
    model: ConditionedMusicgen, decoder: Decoder, wanted: list[Wanted], seed: int
) -> None:
    draw = random.Random(seed)
    alone = [sampled(decoder, each.made(model)) for each in wanted]
    sequences = [each.made(model) for each in wanted]
    gone = draw.sample(range(8), 2)
    for number in gone:
        cancelling(sequences[number], draw.randrange(30))
    joining = [(draw.randrange(25), each) for each in sequences if not each.done]
    ended = run(Batch(decoder, POSITIONS), joining)
    for number, sequence in enumerate(sequences):
        if sequence in ended and ended[sequence].error is not None:
            assert number in gone
            assert isinstance(ended[sequence].error, Cancelled)
        else:
            assert torch.equal(sequence.codes, alone[number])


def test_every_step_of_many_equals_the_full_forward_pass(
    model: ConditionedMusicgen, decoder: Decoder
) -> None:
    """Rows of different lengths and positions share steps; each sees its own past alone."""
    seen: list[tuple[Sequence, int, Tensor]] = []
    windows = [window_of(model, 1, frames, frames) for frames in (9, 25, 40)]
    greedy = Sampling(1.0, 0.0, temperature=0.0)
    sequences = [of_window(model, window, greedy, [torch.Generator()]) for window in windows]
    for sequence in sequences:
        watch(sequence, seen)
    run(Batch(decoder, POSITIONS), [(0, sequences[0]), (3, sequences[1]), (4, sequences[2])])
    assert {id(sequence) for sequence, _, _ in seen} == {id(each) for each in sequences}
    for sequence, column, logits in seen:
        additive = sequence.told.additive
        assert additive is not None
        whole = model(sequence._columns[:, :, :-1], sequence.told.prefix, additive)
        torch.testing.assert_close(logits, whole[:, :, column - 1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("read_at_once", [1, 2, 7, 10_000])
def test_what_is_read_in_pieces_is_read_as_a_whole(
    model: ConditionedMusicgen, decoder: Decoder, read_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.regeneration.batch.READ_AT_ONCE", read_at_once)
    window = window_of(model, 2, 30)
    kept = torch.zeros(2, 30, dtype=torch.bool)
    kept[:, :20] = True
    greedy = Sampling(temperature=0.0)
    made = of_window(
        model, replace(window, kept_mask=kept), greedy, [torch.Generator(), torch.Generator()]
    )
    told, columns = made.told, made.opening()
    assert told.additive is not None
    seen: list[tuple[Sequence, int, Tensor]] = []
    watch(made, seen)
    sampled(decoder, made)
    whole = model(columns, told.prefix, told.additive[:, : columns.shape[2]])
    torch.testing.assert_close(seen[0][2], whole[:, :, -1], atol=1e-4, rtol=0)


def test_one_that_is_broken_ends_alone(model: ConditionedMusicgen, decoder: Decoder) -> None:
    sound = Wanted(30, 2, 5, kept=False, sampling=Sampling())
    alone = sampled(decoder, sound.made(model))
    sequence, broken = sound.made(model), sound.made(model)
    assert broken.told.additive is not None
    with torch.inference_mode():
        broken.told.additive[:, 12] = float("nan")
    ended = run(Batch(decoder, POSITIONS), [(0, broken), (2, sequence)])
    assert isinstance(ended[broken].error, NonFiniteLogits)
    assert ended[sequence].error is None
    assert torch.equal(sequence.codes, alone)


def test_a_step_that_fails_ends_only_those_that_fail_alone_too(
    model: ConditionedMusicgen, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exhausted memory in a shared step tells nobody's name."""
    small = Wanted(30, 1, 5, kept=False, sampling=Sampling())
    large = Wanted(30, 3, 6, kept=False, sampling=Sampling())
    alone = sampled(decoder, small.made(model))
    sequence, heavy = small.made(model), large.made(model)
    step = Decoder.step

    def stepping(self: Decoder, cache: KeyValues, blocks: list[Block], embedded: Tensor) -> Tensor:
        if any(block.rows == heavy.rows and block.filled > 20 for block in blocks):
            raise torch.OutOfMemoryError("no memory is left")
        return step(self, cache, blocks, embedded)

    monkeypatch.setattr(Decoder, "step", stepping)
    batch = Batch(decoder, POSITIONS)
    ended = run(batch, [(0, heavy), (1, sequence)])
    assert isinstance(ended[heavy].error, torch.OutOfMemoryError)
    assert torch.equal(sequence.codes, alone)
    assert batch.cache.free == ROWS


def test_what_never_fits_is_refused(model: ConditionedMusicgen, decoder: Decoder) -> None:
    batch = Batch(decoder, 20)
    long = Wanted(40, 1, 1, kept=False, sampling=Sampling())
    with pytest.raises(TooLarge, match="positions"):
        batch.join(long.made(model))
    wide = Wanted(5, 9, 1, kept=False, sampling=Sampling())
    with pytest.raises(TooLarge, match="27 rows"):
        batch.join(wide.made(model))
    assert not batch.busy


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 7)), max_size=60))
@settings(deadline=None, max_examples=200)
def test_no_row_is_owned_twice_and_none_is_lost(steps: list[tuple[int, int]]) -> None:
    cache = KeyValues(1, 16, 1, 1, 1, torch.float32, torch.device("cpu"))
    owned: list[Block] = []
    for rows, which in steps:
        if which % 2 and owned:
            cache.give_back(owned.pop(which % len(owned)))
        else:
            taken = {r for b in owned for r in range(b.first, b.first + b.rows)}
            room = any(
                not taken & set(range(first, first + rows)) for first in range(16 - rows + 1)
            )
            try:
                block = cache.take(rows)
            except NoRoom:
                assert not room
            else:
                assert not taken & set(range(block.first, block.first + rows))
                owned.append(block)
        assert cache.free == 16 - sum(block.rows for block in owned)


def test_a_cancelled_sequence_gives_its_rows_back_before_its_next_step(
    model: ConditionedMusicgen, decoder: Decoder
) -> None:
    batch = Batch(decoder, POSITIONS)
    sequence = Wanted(30, 1, 1, kept=False, sampling=Sampling()).made(model)
    cancelling(sequence, 4)
    batch.join(sequence)
    steps = 0
    while batch.busy:
        left = batch.advance()
        steps += 1
    assert steps == 5
    assert isinstance(left[0].error, Cancelled)
    assert batch.cache.free == ROWS
