"""Many sequences through one decoder: who joins, who leaves, and what each step is made of.

Continuous batching (Orca, OSDI 2022): at every step boundary those who are done leave and others
join; nobody waits for the longest. One thread drives it, so there is no lock here.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.regeneration.decoder.cache import Block
from workers.regeneration.decoder.decoder import Decoder
from workers.regeneration.fixed_steps import FixedSteps
from workers.regeneration.sampling import Sequence, drawn_together

READ_AT_ONCE = 256
"""Row positions that one sequence reads at a step boundary; others wait for no more than these."""


class TooLarge(ValueError):
    """A sequence that never fits, however empty the batch is."""


@dataclass(eq=False)
class Member:
    """A sequence with a place in the batch, and what it has still to read before its first draw."""

    sequence: Sequence
    block: Block
    unread: Tensor | None


_Made = tuple[Member, Tensor, Tensor]
"""A member with states [rows, width] and logits [rows, K, V] of its last position."""


@dataclass(frozen=True)
class Ended:
    """A sequence that left; ``error`` is ``None`` when it was done."""

    sequence: Sequence
    error: Exception | None


class Batch:
    """Sequences that share a decoder's steps.

    Args:
        decoder: its ``rows`` are those of the batch.
        positions: the longest sequence, prefix included.
        fixed: whether all rows take part in every step (see ``fixed_steps.py``) or the products
            of those alone who step; by default where the decoder is on CUDA.
    """

    def __init__(self, decoder: Decoder, positions: int, *, fixed: bool | None = None) -> None:
        self.decoder = decoder
        self.cache = decoder.cache(positions)
        fixed = decoder.device.type == "cuda" if fixed is None else fixed
        self._fixed = FixedSteps(decoder, self.cache) if fixed else None
        self._members: list[Member] = []
        self._ended: list[Ended] = []

    @property
    def busy(self) -> bool:
        """Whether anything is being sampled."""
        return bool(self._members)

    @property
    def steps(self) -> str:
        """How it steps, in words: "blocks", "one width" or "one width, captured"."""
        if self._fixed is None:
            return "blocks"
        return "one width, captured" if self._fixed.captured else "one width"

    def prepare(self) -> None:
        """Do now what would else keep the first who step waiting."""
        if self._fixed is not None:
            self._fixed.prepare()

    def check(self, rows: int, positions: int) -> None:
        """Raises ``TooLarge`` where no batch of this size will ever hold a sequence."""
        if rows > self.cache.rows:
            raise TooLarge(f"takes {rows} rows, the batch has {self.cache.rows}")
        if positions > self.cache.positions:
            raise TooLarge(f"takes {positions} positions, the batch has {self.cache.positions}")

    @torch.inference_mode()
    def join(self, sequence: Sequence) -> None:
        """Give a sequence its rows.

        Raises:
            NoRoom: not now; once others have left.
            TooLarge: never.
        """
        self.check(sequence.rows, sequence.positions)
        block = self.cache.take(sequence.rows)
        told, known = sequence.told, sequence.opening()
        try:
            if told.looked_at is not None:
                self.decoder.look_at(block, told.looked_at, told.looked_at_mask)
            if self._fixed is not None:
                self._fixed.join(block)
            embedded = self.decoder.embed(known.transpose(1, 2)) + sequence.added(known.shape[2])
            unread = torch.cat([told.prefix.to(embedded.dtype), embedded], dim=1)
        except Exception:
            self.cache.give_back(block)
            raise
        self._members.append(Member(sequence, block, unread))

    @torch.inference_mode()
    def advance(self) -> list[Ended]:
        """One step of everybody; who has joined reads a piece of what comes before the first draw.

        What goes wrong in one sequence ends that one, and is told as its error.
        """
        self._ended = []
        for member in list(self._members):
            self._try(member, _tell)
        reading = [member for member in self._members if member.unread is not None]
        running = [member for member in self._members if member.unread is None]
        for member in reading:
            self._try(member, self._read)
        if running and self._fixed is not None:
            self._step_fixed(self._fixed, running)
        elif running:
            try:
                made = self._step(running)
            # Nobody knows whose fault it was: each goes alone, and who fails then, ends.
            except Exception:  # noqa: BLE001
                for member in running:
                    self._try(member, self._step_alone)
            else:
                kinds: dict[Hashable, list[_Made]] = {}
                for each in made:
                    kinds.setdefault(each[0].sequence.kind, []).append(each)
                for alike in kinds.values():
                    self._draw(alike)
        return self._ended

    def end(self, error: Exception) -> list[Ended]:
        """Everybody leaves, with this error."""
        self._ended = []
        for member in list(self._members):
            self._leave(member, error)
        return self._ended

    def _try(self, member: Member, act: Callable[..., None], *given: Tensor) -> None:
        # One sequence's failure, whatever it is, must not end the others.
        try:
            act(member, *given)
            if member.sequence.done:
                member.sequence.tell()
        except Exception as error:  # noqa: BLE001
            self._leave(member, error)
        else:
            if member.sequence.done:
                self._leave(member, None)

    def _leave(self, member: Member, error: Exception | None) -> None:
        self._members.remove(member)
        self.cache.give_back(member.block)
        self._ended.append(Ended(member.sequence, error))

    def _draw(self, made: list[_Made]) -> None:
        try:
            drawn = drawn_together([(m.sequence, states, logits) for m, states, logits in made])
        # As with a step: each goes alone.
        except Exception:  # noqa: BLE001
            for member, states, logits in made:
                self._try(member, _take, states, logits)
        else:
            for (member, _, _), codes in zip(made, drawn, strict=True):
                self._try(member, _place, codes)

    def _read(self, member: Member) -> None:
        if member.unread is None:
            return
        # A piece's size depends on the sequence alone, so that its samples do too.
        piece = max(1, READ_AT_ONCE // member.block.rows)
        states = self.decoder.read(self.cache, member.block, member.unread[:, :piece])
        member.unread = member.unread[:, piece:]
        if member.unread.shape[1] == 0:
            member.unread = None
            _take(member, states, self.decoder.logits(states))

    def _step_fixed(self, steps: FixedSteps, members: list[Member]) -> None:
        try:
            found = steps.run([(m.sequence, m.block) for m in members])
        # As above; who fails alone ends.
        except Exception:  # noqa: BLE001
            for member in members:
                self._try(member, lambda m: _raise(*steps.run([(m.sequence, m.block)])))
        else:
            for member, error in zip(members, found, strict=True):
                self._try(member, lambda _, error=error: _raise(error))

    def _step_alone(self, member: Member) -> None:
        for _, states, logits in self._step([member]):
            _take(member, states, logits)

    def _step(self, members: list[Member]) -> list[_Made]:
        embedded = self.decoder.embed(torch.cat([m.sequence.newest() for m in members]))
        embedded = embedded + torch.cat([m.sequence.added()[:, 0] for m in members])
        states = self.decoder.step(self.cache, [m.block for m in members], embedded)
        logits = self.decoder.logits(states)
        rows = [m.block.rows for m in members]
        return list(zip(members, states.split(rows), logits.split(rows), strict=True))


def _tell(member: Member) -> None:
    member.sequence.tell()


def _raise(error: Exception | None) -> None:
    if error is not None:
        raise error


def _take(member: Member, states: Tensor, logits: Tensor) -> None:
    member.sequence.take(states, logits)


def _place(member: Member, codes: Tensor) -> None:
    member.sequence.place(codes)


def sampled(
    decoder: Decoder, sequence: Sequence, meanwhile: Callable[[], None] = lambda: None
) -> Tensor:
    """The codes of one sequence that has a decoder for itself, int64 [B, K, F].

    ``meanwhile`` is called after every step. Raises what its steps raise.
    """
    if not sequence.done:
        batch = Batch(decoder, sequence.positions)
        batch.join(sequence)
        while batch.busy:
            for ended in batch.advance():
                if ended.error is not None:
                    raise ended.error
            meanwhile()
    else:
        sequence.tell()
    return sequence.codes
