"""Which segments a mixture is cut into, and how their estimates become stems again.

The rules are those of demucs' `apply_model` (with `shifts=0` and a transition power of 1): segments
of one length a stride apart, weighted by triangles and divided by what the weights add up to. A
stretch of the stems is finished as soon as no further segment reaches it, so nothing is held
but the stems themselves and one stride of weights.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

BLOCK = 1 << 22
"""Frames that the mixture's level is taken of at a time."""


@dataclass(frozen=True, slots=True)
class Level:
    """What a mixture is standardised by: mean and standard deviation of its mono mix."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, mixture: Tensor) -> "Level":
        """Of a mixture float32 [C, frames]; block by block, so that a long one needs no copy."""
        count, mean, squares = 0, 0.0, 0.0
        for begin in range(0, mixture.shape[-1], BLOCK):
            block = mixture[:, begin : begin + BLOCK].mean(0)
            size, level = block.numel(), float(block.mean())
            spread = float(block.std(correction=0)) ** 2 * size
            # Chan, Golub and LeVeque (1979); of a single block, exactly its own figures.
            apart = level - mean if count else 0.0
            mean = mean + apart * size / (count + size) if count else level
            squares += spread + apart**2 * count * size / (count + size)
            count += size
        deviation = torch.tensor((squares / count) ** 0.5, dtype=torch.float32)
        return cls(torch.tensor(mean, dtype=torch.float32), deviation + 1e-8)

    def standardised(self, part: Tensor) -> Tensor:
        """A part of the mixture, as demucs' own `Separator` feeds it."""
        return (part - self.mean) / self.deviation


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the segments of a mixture lie, in frames.

    `frames` is what the mixture has, `padded` what it has with zeros behind it; segments of
    `segment` frames begin every `stride` frames, and the last ends with the padded mixture. Where
    `whole` is true the model takes one length only: a shorter last segment lies in the middle of a
    window of that length, of the mixture where there is any and else of zeros.
    """

    frames: int
    padded: int
    segment: int
    stride: int
    whole: bool

    @classmethod
    def of(
        cls, frames: int, sample_rate: int, seconds: float, overlap: float, *, whole: bool
    ) -> "Layout":
        """As demucs lays out segments of `seconds` that overlap by the part `overlap`.

        :raises ValueError: segments that do not move on, or a mixture without a frame.
        """
        segment = int(sample_rate * seconds)
        stride = int((1 - overlap) * segment)
        if not 0 < stride <= segment or frames < 1:
            raise ValueError("a mixture has frames, and segments move on")
        # What takes the last segment as long as it is (HDemucs) has an STFT, which cannot take
        # any length.
        shortest, last = min(stride, sample_rate // 2), frames % stride
        padding = shortest - last if not whole and 0 < last < shortest else 0
        return cls(frames, frames + padding, segment, stride, whole)

    def __len__(self) -> int:
        return -(-self.padded // self.stride)

    def span(self, index: int) -> tuple[int, int]:
        """Begin and end of a segment."""
        begin = index * self.stride
        return begin, min(begin + self.segment, self.padded)

    def window(self, mixture: Tensor, level: Level, index: int) -> Tensor:
        """What the model is given for a segment of `mixture` [C, frames], standardised."""
        begin, end = self.span(index)
        if self.whole:
            begin -= (self.segment - (end - begin)) // 2
            end = begin + self.segment
        part = level.standardised(mixture[:, max(0, begin) : end])
        return pad(part, (max(0, -begin), end - max(0, begin) - part.shape[-1]))

    def trimmed(self, estimate: Tensor, index: int) -> Tensor:
        """Of what the model gave for a segment's window, [..., T], the segment."""
        begin, end = self.span(index)
        ahead = (estimate.shape[-1] - (end - begin)) // 2
        return estimate[..., ahead : ahead + end - begin]


class Stems:
    """The stems of one mixture while they come together, segment after segment."""

    def __init__(self, layout: Layout, level: Level, sources: int, channels: int) -> None:
        self.samples = torch.zeros(sources, channels, layout.frames)
        """float32 [S, C, frames]; final up to the first stride that no segment was added for."""
        self._layout, self._level = layout, level
        half = layout.segment // 2
        triangle = torch.cat(
            [torch.arange(1, half + 1), torch.arange(layout.segment - half, 0, -1)]
        )
        self._weight = triangle / triangle.max()
        self._weights = torch.zeros(layout.segment)
        self._next = 0

    @torch.inference_mode()
    def add(self, estimate: Tensor) -> None:
        """Take the next segment's estimate, float32 [S, C, window] on the CPU; it is used up."""
        index, frames = self._next, self._layout.frames
        self._next += 1
        begin, end = self._layout.span(index)
        part = self._layout.trimmed(estimate, index)
        weight = self._weight[: end - begin]
        self.samples[..., begin:end] += part.mul_(weight)[..., : max(0, frames - begin)]
        self._weights[: end - begin] += weight
        done = min(begin + self._layout.stride, frames) - begin
        if index == len(self._layout) - 1:
            done = frames - begin
        finished = self.samples[..., begin : begin + done]
        finished.div_(self._weights[:done]).mul_(self._level.deviation).add_(self._level.mean)
        self._weights = pad(self._weights[self._layout.stride :], (0, self._layout.stride))
