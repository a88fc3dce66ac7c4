"""Building blocks shared by the codecs. Sequences are [batch, frames, channels] throughout."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNeXtBlock(nn.Module):
    """One-dimensional ConvNeXt block as used by Vocos (Siuzdak 2023, arXiv:2306.00814)."""

    def __init__(self, channels: int, kernel: int, expansion: int, scale: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.expand = nn.Linear(channels, channels * expansion)
        self.contract = nn.Linear(channels * expansion, channels)
        self.scale = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """float [B, F, C] to the same shape."""
        y = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        y = self.contract(F.gelu(self.expand(self.norm(y))))
        return x + self.scale * y


def convnext(channels: int, blocks: int, kernel: int, expansion: int = 3) -> nn.Sequential:
    """A stack of `blocks` ConvNeXt blocks whose residual branches start small."""
    return nn.Sequential(
        *(ConvNeXtBlock(channels, kernel, expansion, 1.0 / blocks) for _ in range(blocks))
    )


def fold_frames(x: Tensor, factor: int) -> Tensor:
    """[B, F * factor, C] -> [B, F, factor * C]: neighbouring frames side by side."""
    batch, frames, channels = x.shape
    return x.reshape(batch, frames // factor, factor * channels)


def unfold_frames(x: Tensor, factor: int) -> Tensor:
    """The inverse of `fold_frames`."""
    batch, frames, channels = x.shape
    return x.reshape(batch, frames * factor, channels // factor)


def frames_of(x: Tensor, size: int, hop: int) -> Tensor:
    """[B, T] to frames [B, T / hop, size], frame `f` centred on samples f*hop..(f+1)*hop."""
    pad = (size - hop) // 2
    return F.pad(x, (pad, pad)).unfold(1, size, hop)


def spectrum(x: Tensor, window: Tensor, hop: int) -> Tensor:
    """Short-time spectrum whose frame `f` is centred on the middle of samples f*hop..(f+1)*hop.

    Args:
        x: float [B, T], T a multiple of `hop`.
        window: float [N], N - hop even.

    Returns:
        complex [B, T / hop, N / 2 + 1].
    """
    return torch.fft.rfft(frames_of(x, window.shape[0], hop) * window)


def overlap_add(frames: Tensor, window: Tensor, hop: int) -> Tensor:
    """Sum windowed frames back into a signal, the inverse of `spectrum` after `irfft`.

    Args:
        frames: float [B, F, N], not yet windowed; N a multiple of `hop`.
        window: float [N].

    Returns:
        float [B, F * hop].
    """
    size, count = window.shape[0], frames.shape[1]
    overlap = size // hop
    pieces = (frames * window).unflatten(2, (overlap, hop))
    weights = (window * window).unflatten(0, (overlap, hop))
    # Written with pads rather than in-place sums so that autograd keeps no copies.
    total = sum(F.pad(pieces[:, :, i], (0, 0, i, overlap - 1 - i)) for i in range(overlap))
    weight = sum(
        F.pad(weights[i].expand(count, hop), (0, 0, i, overlap - 1 - i)) for i in range(overlap)
    )
    assert isinstance(total, Tensor) and isinstance(weight, Tensor)
    signal = (total / weight.clamp(min=1e-4)).flatten(1)
    pad = (size - hop) // 2
    return signal[:, pad : pad + count * hop]


def in_chunks(
    function: Callable[[Tensor], Tensor], x: Tensor, per_frame: int, margin: int, chunk: int = 1000
) -> Tensor:
    """Apply a function with a bounded field of view piecewise, so that memory does not grow with x.

    Args:
        function: [B, n * per_frame, ...] to [B, n * m, ...], for any number of frames n.
        x: [B, F * per_frame, ...].
        per_frame: items of x in one frame.
        margin: frames of x to either side that a frame of the result depends on.
        chunk: frames to work on at a time.

    Returns:
        what `function(x)` would give, [B, F * m, ...], but for rounding.
    """
    frames = x.shape[1] // per_frame
    if frames <= chunk + 2 * margin:
        return function(x)
    pieces = []
    for first in range(0, frames, chunk):
        begin, end = max(0, first - margin), min(frames, first + chunk + margin)
        made = function(x[:, begin * per_frame : end * per_frame])
        size = made.shape[1] // (end - begin)
        last = min(frames, first + chunk)
        pieces.append(made[:, (first - begin) * size : (last - begin) * size])
    return torch.cat(pieces, 1)
