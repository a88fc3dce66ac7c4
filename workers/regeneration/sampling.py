"""One window of the generator between two steps of the model: what is drawn, and how.

The rows of a sequence are guidance branches times candidates. Which rows share a step with them,
and where keys and values are kept, is the batch's business (see ``batch.py``).
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from workers.regeneration.delay import delay, undelay
from workers.regeneration.guidance import Sampling
from workers.regeneration.model import ConditionedMusicgen, GeneratorConfig, Window


class NonFiniteLogits(ArithmeticError):
    """The model's logits were not finite: the weights or the context are broken."""


def _nothing_told(window: Window, config: GeneratorConfig) -> Window:
    """The same window with neither a style nor a control."""
    return replace(
        window,
        style=torch.full_like(window.style, len(config.styles)),
        controls=window.controls.new_tensor(config.untold).expand_as(window.controls),
    )


def guidance_branches(
    window: Window, config: GeneratorConfig, sampling: Sampling
) -> tuple[Window, Tensor]:
    """The window once per branch that counts, and the branches' weights [branches].

    Kept frames belong to every branch: guidance is about the context, not about what is kept.
    """
    untold = _nothing_told(window, config)
    without_context = replace(untold, present=torch.zeros_like(window.present))
    told = bool((window.style != untold.style).any() | (window.controls != untold.controls).any())
    weights = sampling.branches(told=told)
    used = [
        (weight, branch)
        for weight, branch in zip(weights, (without_context, untold, window), strict=True)
        if weight != 0.0
    ]
    fields = {
        name: torch.cat([getattr(branch, name) for _, branch in used])
        for name in Window.__dataclass_fields__
    }
    return Window(**fields), torch.tensor([weight for weight, _ in used])


def draw(logits: Tensor, noise: Tensor, sampling: Sampling) -> Tensor:
    """One code per row and codebook, int64 [B, K], from logits [B, K, V] and exponential noise.

    ``argmax(p / noise)`` draws from p (the exponential race), so a row's draw depends on its own
    noise [B, K, draws_of] alone, not on who shares the batch. The likeliest code meets the first
    noise: without temperature, or with a ``top_k`` of 1, it is taken whatever the noise.
    """
    if sampling.temperature == 0.0:
        return logits.argmax(dim=-1)
    kept = noise.shape[-1]
    if kept == logits.shape[-1] and sampling.top_p == 1.0:
        return (torch.softmax(logits / sampling.temperature, dim=-1) / noise).argmax(dim=-1)
    if logits.device.type == "cpu":
        # numpy ranks scores alone in half the time that topk takes to rank them with their codes.
        top = np.partition(logits.numpy(), -kept)[..., -kept:]
        top.sort()
        likeliest = torch.from_numpy(top).flip(-1)
        score = likeliest.gather(-1, _ranks(likeliest, noise, sampling))
        found = (logits == score).nonzero()
        # More where two codes have one score: then which is meant is what topk says.
        if len(found) == score.numel():
            return found[:, -1].view(score.shape[:-1])
    likeliest, codes = logits.topk(kept, dim=-1)
    return codes.gather(-1, _ranks(likeliest, noise, sampling))[..., 0]


def _ranks(likeliest: Tensor, noise: Tensor, sampling: Sampling) -> Tensor:
    """Which of the likeliest is drawn, int64 [B, K, 1]; logits and noise [B, K, draws_of]."""
    shares = torch.softmax(likeliest / sampling.temperature, dim=-1)
    if sampling.top_p < 1.0:
        # Those before which less than top_p is reached already: the likeliest is always one.
        shares = shares.where(shares.cumsum(dim=-1) - shares < sampling.top_p, 0.0)
    return (shares / noise).argmax(dim=-1, keepdim=True)


def draws_of(sampling: Sampling, codebook_size: int) -> int:
    """How many codes a draw is among."""
    return min(sampling.top_k, codebook_size) if sampling.top_k else codebook_size


@dataclass(frozen=True)
class Upcoming:
    """The next draw of a sequence, for who draws of many at once: views, nothing is copied.

    Attributes:
        noise: [B, K, draws].
        cell: int64 [B, K], where what is drawn belongs.
        free: bool [B, K], which of it is drawn; the others stay.
        all_free: whether all are, known without asking the device.
    """

    noise: Tensor
    cell: Tensor
    free: Tensor
    all_free: bool


@dataclass(frozen=True)
class Told:
    """What the decoder is told of a sequence, row by row; branches of the guidance come first.

    Attributes:
        prefix: [rows, P, width], read before the first column; P may be 0.
        additive: [rows, F, width], added to the embeddings of the columns, where there is one.
        looked_at: [rows, S, width], what cross-attention looks at, where there is one.
        looked_at_mask: bool [rows, S], which of it counts.
    """

    prefix: Tensor
    additive: Tensor | None = None
    looked_at: Tensor | None = None
    looked_at_mask: Tensor | None = None


def nothing_more(states: Tensor, logits: Tensor, column: int) -> Tensor:
    """The decoder's logits are the model's."""
    return logits


class Sequence:
    """Candidates that are being sampled together, each in every branch of the guidance.

    Args:
        codes: int64 [B, K, F], read where ``kept`` is true.
        kept: bool [B, F], the frames that stay as they are.
        padding: the code of cells that belong to no frame.
        codebook_size: codes run from 0 to this less one.
        told: to the decoder; not asked for where everything is kept. It is for
            ``len(weights) * B`` rows, all candidates of a branch side by side.
        weights: [branches], of the guidance.
        sampling: how codes are drawn.
        generators: one per candidate.
        logits: float32 [rows, K, V] of a model that adds to its decoder's: from states
            [rows, width], the decoder's logits and the number of their column.
        before_step: called before every model step with the frames that are complete, and once at
            the end; what it raises ends the sampling.

    Attributes:
        rows: of the batch, branches times candidates.
        kind: sequences of one kind may be drawn together.
        done: whether every frame that is not kept has been drawn.
    """

    def __init__(
        self,
        codes: Tensor,
        kept: Tensor,
        padding: int,
        codebook_size: int,
        told: Told,
        weights: Tensor,
        sampling: Sampling,
        generators: Iterable[torch.Generator],
        logits: Callable[[Tensor, Tensor, int], Tensor] = nothing_more,
        before_step: Callable[[int], None] = lambda frames: None,
    ) -> None:
        self._candidates, self._codebooks, self._frames = codes.shape
        self._columns = delay(torch.where(kept[:, None], codes, padding), padding)
        # A cell is free when it belongs to a frame that is not kept; all others are forced.
        self._free = delay((~kept[:, None].expand_as(codes)).long(), 0).bool()
        undrawn: list[int] = self._free.any(dim=(0, 1)).nonzero().flatten().tolist()
        self.done = not undrawn
        self._next, self._last = (undrawn[0], undrawn[-1]) if undrawn else (0, 0)
        self.told, self._weights = told, weights[:, None]
        self.rows = len(weights) * self._candidates
        self.kind = (sampling, codebook_size, self._codebooks, tuple(weights.tolist()))
        self._sampling, self._logits, self._before_step = sampling, logits, before_step
        shape = (self._frames, self._codebooks, draws_of(sampling, codebook_size))
        noise = [torch.empty(shape).exponential_(generator=g) for g in generators]
        # Codebook k of column c belongs to frame c - 1 - k; its noise is the frame's own.
        columns = torch.arange(self._frames + self._codebooks)[:, None]
        codebook = torch.arange(self._codebooks)
        frame = (columns - 1 - codebook).clamp(0, self._frames - 1)
        if not self.done:
            noise = [each[frame, codebook] for each in noise]
        self._noise = torch.stack(noise).to(codes.device)
        self._all_free: list[bool] = self._free.all(dim=1).all(dim=0).tolist()
        self._nothing = told.prefix.new_zeros(1, 1, told.prefix.shape[-1])

    @property
    def positions(self) -> int:
        """Positions of the cache that each row needs."""
        return self.told.prefix.shape[1] + self._last

    @property
    def codes(self) -> Tensor:
        """int64 [B, K, F]; kept frames are exactly those that were given."""
        return undelay(self._columns)

    def opening(self) -> Tensor:
        """The columns that are known before the first draw, int64 [rows, K, S]."""
        return self._columns[:, :, : self._next].repeat(len(self._weights), 1, 1)

    def newest(self) -> Tensor:
        """The column that was drawn last, int64 [rows, K]."""
        return torch.cat([self._columns[:, :, self._next - 1]] * len(self._weights))

    def added(self, count: int = 1) -> Tensor:
        """What the context adds to the embeddings of the last ``count`` columns that are known.

        [rows, count, width]; nothing for columns that predict no new frame.
        """
        if self.told.additive is None:
            return self._nothing.expand(self.rows, count, -1)
        additive = self.told.additive[:, self._next - count : self._next]
        if additive.shape[1] == count:
            return additive
        return functional.pad(additive, (0, 0, 0, count - additive.shape[1]))

    @property
    def complete(self) -> int:
        """Frames from the start whose codes are known in every codebook."""
        return self._frames if self.done else max(0, self._next - 1 - self._codebooks)

    def tell(self) -> None:
        """Say how far it is; raises what ``before_step`` raises."""
        self._before_step(self.complete)

    def scores(self, states: Tensor, logits: Tensor) -> Tensor:
        """The model's logits of the next column, float32 [branches, B * K * V].

        Args:
            states: [rows, width], the decoder's, at the last column that is known.
            logits: float32 [rows, K, V], the decoder's.
        """
        logits = self._logits(states, logits, self._next - 1)
        return logits.reshape(len(self._weights), -1)

    def place(self, drawn: Tensor) -> None:
        """The next column is known: int64 [B, K], read in cells that are free."""
        column = self._next
        cell = self._columns[:, :, column]
        if not self._all_free[column]:
            drawn = torch.where(self._free[:, :, column], drawn, cell)
        cell.copy_(drawn)
        self._next += 1
        self.done = column == self._last

    def take(self, states: Tensor, logits: Tensor) -> None:
        """Draw the next column; as :func:`drawn_together` says, but alone."""
        self.place(drawn_together([(self, states, logits)])[0])

    @property
    def candidates(self) -> int:
        """How many are drawn, B."""
        return self._candidates

    @property
    def weights(self) -> Tensor:
        """[branches, 1], of the guidance."""
        return self._weights

    @property
    def sampling(self) -> Sampling:
        """How codes are drawn."""
        return self._sampling

    @property
    def draws(self) -> int:
        """How many codes a draw is among."""
        return self._noise.shape[-1]

    def upcoming(self) -> Upcoming:
        """The draw of the next column; :meth:`went` says that it was made."""
        column = self._next
        return Upcoming(
            self._noise[:, column],
            self._columns[:, :, column],
            self._free[:, :, column],
            self._all_free[column],
        )

    def not_finite(self) -> NonFiniteLogits:
        """What :meth:`take` raises of logits that are not."""
        return NonFiniteLogits(f"logits of column {self._next} are not finite")

    def went(self) -> None:
        """The next column has been drawn into its :meth:`upcoming` cell."""
        self.done = self._next == self._last
        self._next += 1


def drawn_together(taking: list[tuple[Sequence, Tensor, Tensor]]) -> list[Tensor]:
    """The next column of sequences of one ``kind``, int64 [B, K] each; nothing is changed.

    Whatever is computed is computed row by row: each gets what it would get alone.

    Args:
        taking: each with states [rows, width] and logits float32 [rows, K, V], the decoder's.

    Raises:
        NonFiniteLogits: one of them was NaN or infinite.
    """
    first = taking[0][0]
    scores = [sequence.scores(states, logits) for sequence, states, logits in taking]
    guided = (first.weights * torch.cat(scores, dim=1)).sum(dim=0)
    # One that is not finite makes the sum so.
    if not math.isfinite(guided.sum().item()):
        raise first.not_finite()
    noise = torch.cat([sequence.upcoming().noise for sequence, _, _ in taking])
    drawn = draw(guided.view(*noise.shape[:2], -1), noise, first.sampling)
    return list(drawn.split([sequence.candidates for sequence, _, _ in taking]))


@torch.inference_mode()
def of_window(
    model: ConditionedMusicgen,
    window: Window,
    sampling: Sampling,
    generators: Iterable[torch.Generator],
    before_step: Callable[[int], None] = lambda frames: None,
) -> Sequence:
    """A window of a part: the model hears it now, and is asked for what a chord adds later.

    Args:
        model: in evaluation mode.
        window: B candidates.
        sampling, generators, before_step: as of a :class:`Sequence`.
    """
    branches, weights = guidance_branches(window, model.config, sampling)
    condition = model.condition(branches)

    def logits(states: Tensor, scores: Tensor, column: int) -> Tensor:
        return model.with_intervals(
            scores[:, :, None], states[:, None].float(), condition.roots, column
        )[:, :, 0]

    return Sequence(
        window.kept_codes,
        window.kept_mask,
        model.config.padding,
        model.config.codebook_size,
        Told(condition.prefix, condition.additive),
        weights.to(window.features.device),
        sampling,
        generators,
        logits,
        before_step,
    )
