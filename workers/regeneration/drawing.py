"""Draws of many sequences at once, where their logits are; the host waits once for all of them.

What is drawn is what :meth:`Sequence.take` draws: the same noise, which a generator of each
candidate drew on the CPU, so that a GPU draws from the same random numbers.
"""

from collections.abc import Sequence as Many
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.regeneration.sampling import NonFiniteLogits, Sequence


@dataclass(frozen=True)
class _Alike:
    """Sequences whose draws have the same shape and kind.

    ``rows`` int64 [branches * N] of the step, branch by branch, ``weights`` [branches, N, 1, 1],
    ``temperatures`` and ``shares`` (top_p) [N, 1, 1], for the N candidates of all of them.
    """

    sequences: tuple[Sequence, ...]
    spans: tuple[slice, ...]
    rows: Tensor
    weights: Tensor
    temperatures: Tensor
    shares: Tensor | None
    greedy: bool

    def scores(self, states: Tensor, logits: Tensor) -> Tensor:
        """Guided logits [N, K, V]."""
        branches = len(self.weights)
        each = [
            sequence.scores(states[span], logits[span]).view(branches, -1, *logits.shape[1:])
            for sequence, span in zip(self.sequences, self.spans, strict=True)
        ]
        return (self.weights * torch.cat(each, dim=1)).sum(dim=0)

    def drawn(self, guided: Tensor, noise: Tensor) -> Tensor:
        """As :func:`draw`, each candidate with its own temperature and share."""
        if self.greedy:
            return guided.argmax(dim=-1)
        kept = noise.shape[-1]
        if kept == guided.shape[-1] and self.shares is None:
            return (torch.softmax(guided / self.temperatures, dim=-1) / noise).argmax(dim=-1)
        likeliest, codes = guided.topk(kept, dim=-1)
        shares = torch.softmax(likeliest / self.temperatures, dim=-1)
        if self.shares is not None:
            shares = shares.where(shares.cumsum(dim=-1) - shares < self.shares, 0.0)
        chosen = (shares / noise).argmax(dim=-1)
        return codes.gather(-1, chosen[..., None])[..., 0]


class Draws:
    """The draws of sequences that step together, as long as they are the same.

    Args:
        sequences: each with rows of a step of its own.
        firsts: the first row of each.
        device: where logits and noise are.
    """

    def __init__(self, sequences: Many[Sequence], firsts: Many[int], device: torch.device) -> None:
        self._sequences = tuple(sequences)
        kinds: dict[tuple[object, ...], list[int]] = {}
        for number, each in enumerate(sequences):
            told = each.sampling
            greedy = told.temperature == 0.0
            kind = (
                len(each.weights),
                greedy,
                *((each.draws, told.top_p < 1.0) if not greedy else ()),
            )
            kinds.setdefault(kind, []).append(number)
        self._groups = [
            _alike([sequences[n] for n in numbers], [firsts[n] for n in numbers], device)
            for numbers in kinds.values()
        ]

    def take(self, states: Tensor, logits: Tensor, codes: Tensor) -> list[NonFiniteLogits | None]:
        """Draw the next column of all.

        Args:
            states: [rows, width] of the step.
            logits: float32 [rows, K, V].
            codes: int64 [rows, K], where the column that was drawn is written for the next step.

        Returns:
            What is wrong with each, in their order; the others have gone on.
        """
        finite = []
        for group in self._groups:
            upcoming = [sequence.upcoming() for sequence in group.sequences]
            guided = group.scores(states, logits)
            # One that is not finite makes the sum so.
            finite.append(guided.sum(dim=(1, 2)).isfinite())
            drawn = group.drawn(guided, torch.cat([each.noise for each in upcoming]))
            if any(not each.all_free for each in upcoming):
                free = torch.cat([each.free for each in upcoming])
                drawn = torch.where(free, drawn, torch.cat([each.cell for each in upcoming]))
            sizes = [len(each.cell) for each in upcoming]
            for each, part in zip(upcoming, drawn.split(sizes), strict=True):
                each.cell.copy_(part)
            codes.index_copy_(0, group.rows, drawn.repeat(len(group.weights), 1))
        sound: list[bool] = torch.cat(finite).tolist()
        found: dict[Sequence, NonFiniteLogits | None] = {}
        for group in self._groups:
            for sequence in group.sequences:
                mine, sound = sound[: sequence.candidates], sound[sequence.candidates :]
                found[sequence] = None if all(mine) else sequence.not_finite()
        for sequence, error in found.items():
            if error is None:
                sequence.went()
        return [found[sequence] for sequence in self._sequences]


def _alike(sequences: list[Sequence], firsts: list[int], device: torch.device) -> _Alike:
    branches = len(sequences[0].weights)
    rows = [
        first + branch * each.candidates + candidate
        for branch in range(branches)
        for each, first in zip(sequences, firsts, strict=True)
        for candidate in range(each.candidates)
    ]
    counts = [each.candidates for each in sequences]

    def of_each(values: list[float]) -> Tensor:
        every = [value for value, count in zip(values, counts, strict=True) for _ in range(count)]
        return torch.tensor(every, device=device)[:, None, None]

    shares = [each.sampling.top_p for each in sequences]
    return _Alike(
        tuple(sequences),
        tuple(
            slice(first, first + each.rows) for each, first in zip(sequences, firsts, strict=True)
        ),
        torch.tensor(rows, device=device),
        torch.cat([each.weights.expand(-1, each.candidates) for each in sequences], dim=1)[
            ..., None, None
        ],
        of_each([each.sampling.temperature for each in sequences]),
        of_each(shares) if any(share < 1.0 for share in shares) else None,
        sequences[0].sampling.temperature == 0.0,
    )
