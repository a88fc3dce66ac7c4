"""Demucs' layers, computed tile by tile for a processor's cache.

A layer of Demucs is a chain of cheap steps over tensors of tens of megabytes: on a CPU most of its
time goes to moving them through memory and to mapping fresh pages for each. Here a layer runs
through its whole chain for a few frequency rows (or a stretch of time) at a time, so that what lies
between two steps stays in the cache, and its narrow convolutions are products of matrices in the
layout that the tensors have. The arithmetic is demucs' own up to the order of sums.

Tensors are float32 and hold one segment: [channels, rows, time], a layer of the time branch having
one row.
"""

from collections.abc import Iterator
from typing import Any

import torch
from demucs.demucs import DConv
from demucs.hdemucs import HDecLayer, HEncLayer
from torch import Tensor, nn
from torch.nn import functional as F

TILE = 1 << 18
"""Values in the widest tensor of a tile: a megabyte, about a core's own cache."""


def spans(length: int, size: int) -> Iterator[tuple[int, int]]:
    """Begin and end of consecutive stretches of at most `size`."""
    for begin in range(0, length, size):
        yield begin, min(begin + size, length)


def can_tile(layer: Any) -> bool:
    """Whether `layer` is of the plain kind that is computed here."""
    if not isinstance(layer, HEncLayer | HDecLayer) or layer.empty or layer.rewrite is None:
        return False
    kernel, stride = layer.kernel_size, layer.stride
    # Identities stand where a layer has no normalisation.
    plain = (
        not isinstance(getattr(layer, "norm1", None), nn.GroupNorm)
        and kernel == 2 * stride
        and layer.pad == stride // 2
        and (layer.dconv is None or all(_is_plain(branch) for branch in layer.dconv.layers))
    )
    if isinstance(layer, HEncLayer):
        return plain and set(layer.rewrite.kernel_size) == {1}
    context = 3 if layer.context_freq else 0
    return plain and set(layer.rewrite.kernel_size) == {context}


def _is_plain(branch: Any) -> bool:
    """Neither LSTM nor attention: convolution, norm, GELU, convolution, norm, GLU, scale."""
    return (
        len(branch) == 7
        and isinstance(branch[1], nn.GroupNorm)
        and isinstance(branch[2], nn.GELU)
        and branch[0].kernel_size == (3,)
    )


class Residual(nn.Module):
    """One residual branch of a `DConv`, added to its input in place.

    The second normalisation is not carried out on its wide input: its moments follow from those
    of the narrow input of the convolution before it, and go into that convolution's weights, as
    the layer's scale does.
    """

    taps: Tensor
    bias1: Tensor
    weight2: Tensor
    bias2: Tensor
    gain: Tensor
    shift: Tensor
    gram: Tensor

    def __init__(self, branch: Any) -> None:
        super().__init__()
        first, norm1, _, second, norm2, _, scale = branch
        self.dilation = int(first.dilation[0])
        self.hidden, self.channels = first.out_channels, first.in_channels
        self.norm1 = norm1
        self.eps = norm2.eps
        scales = torch.cat([scale.scale, torch.ones_like(scale.scale)])
        weight = second.weight[:, :, 0]
        # Tap by tap [3 x hidden, channels]: before, at and after.
        self.register_buffer("taps", first.weight.permute(2, 0, 1).reshape(-1, self.channels))
        self.register_buffer("bias1", first.bias[:, None].clone())
        self.register_buffer("weight2", weight.clone())
        self.register_buffer("bias2", second.bias.clone())
        self.register_buffer("gain", norm2.weight * scales)
        self.register_buffer("shift", norm2.bias * scales)
        self.register_buffer("gram", weight.T @ weight / len(weight))

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to `x` [C, R, T], contiguous, which it gives back."""
        channels, rows, time = x.shape
        narrow = self._narrow(x)
        weight, bias = self._normalised(narrow)
        step = max(1, TILE // (2 * channels * rows))
        for begin, end in spans(time, step):
            wide = torch.baddbmm(bias, weight, narrow[:, :, begin:end])
            x[:, :, begin:end] += F.glu(wide, 1).transpose(0, 1)
        return x

    def _narrow(self, x: Tensor) -> Tensor:
        """After the first convolution, norm and GELU: [R, hidden, T]."""
        channels, rows, time = x.shape
        before, at, after = (self.taps @ x.view(channels, -1)).view(3, self.hidden, rows, time)
        d = self.dilation
        if time > d:
            at[..., d:] += before[..., :-d]
            at[..., :-d] += after[..., d:]
        narrow = x.new_empty(rows, self.hidden, time)
        torch.add(at.transpose(0, 1), self.bias1, out=narrow)
        narrow = F.group_norm(narrow, 1, self.norm1.weight, self.norm1.bias, self.norm1.eps)
        return torch.ops.aten.gelu_(narrow)

    def _normalised(self, narrow: Tensor) -> tuple[Tensor, Tensor]:
        """The second convolution with its norm: weights [R, 2C, hidden] and bias [R, 2C, 1]."""
        mean = narrow.mean(-1)
        centred = narrow - mean[..., None]
        covariance = torch.bmm(centred, centred.transpose(1, 2)) / narrow.shape[-1]
        levels = torch.addmm(self.bias2, mean, self.weight2.T)  # of each channel, over time
        level = levels.mean(1, keepdim=True)
        # Variance over channels and time: within the channels, and between them.
        variance = (covariance * self.gram).sum((1, 2))[:, None]
        variance += (levels - level).square_().mean(1, keepdim=True)
        factor = (variance + self.eps).rsqrt_() * self.gain
        bias = torch.addcmul(self.shift, self.bias2 - level, factor)
        return factor[..., None] * self.weight2, bias[..., None]


class _Layer(nn.Module):
    """What the tiled layers share: their residual branches and their weights as matrices."""

    matrix: Tensor
    bias: Tensor
    rewrite: Any

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.freq = bool(layer.freq)
        self.stride = int(layer.stride)
        branches: list[nn.Module] = []
        if isinstance(layer.dconv, DConv):
            branches = [Residual(branch) for branch in layer.dconv.layers]
        self.branches = nn.ModuleList(branches)
        self.rewrite = layer.rewrite

    def _residuals(self, x: Tensor) -> Tensor:
        for branch in self.branches:
            x = branch(x)
        return x


class TiledEncoder(_Layer):
    """An `HEncLayer` without normalisation."""

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        self.conv = layer.conv
        self.channels = int(layer.conv.out_channels)
        self.register_buffer("matrix", layer.rewrite.weight.reshape(2 * self.channels, -1).clone())
        self.register_buffer("bias", layer.rewrite.bias[:, None].clone())

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """[C, R, T] of x [C', stride R, T], or [C, T] of x [C', time].

        :param embedding: [C, R] to add behind.
        """
        if not self.freq:
            return self._over_time(x)
        rows, time = x.shape[1] // self.stride, x.shape[2]
        out = x.new_empty(self.channels, rows, time)
        margin = self.stride // 2
        for begin, end in spans(rows, max(1, TILE // (2 * self.channels * time))):
            tile = _cut(x, begin * self.stride - margin, end * self.stride + margin)
            y = F.conv2d(tile[None], self.conv.weight, self.conv.bias, self.conv.stride)[0]
            y = self._residuals(torch.ops.aten.gelu_(y))
            self._rewritten(y.view(self.channels, -1), out[:, begin:end].flatten(1))
            if embedding is not None:
                out[:, begin:end] += embedding[:, begin:end, None]
        return out

    def _over_time(self, x: Tensor) -> Tensor:
        length = -(-x.shape[1] // self.stride)
        y = x.new_empty(self.channels, 1, length)
        margin = self.stride // 2
        step = max(1, TILE // (2 * self.channels))
        for begin, end in spans(length, step):
            tile = _cut(x, begin * self.stride - margin, end * self.stride + margin)
            part = F.conv1d(tile[None], self.conv.weight, self.conv.bias, self.conv.stride)[0]
            y[:, 0, begin:end] = torch.ops.aten.gelu_(part)
        y = self._residuals(y)[:, 0]
        out = torch.empty_like(y)
        for begin, end in spans(length, step):
            self._rewritten(y[:, begin:end], out[:, begin:end])
        return out

    def _rewritten(self, y: Tensor, out: Tensor) -> None:
        torch.ops.aten.glu.out(torch.addmm(self.bias, self.matrix, y), 0, out=out)


class TiledDecoder(_Layer):
    """An `HDecLayer` without normalisation."""

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        self.last = bool(layer.last)
        self.inputs = int(layer.conv_tr.in_channels)
        self.outputs = int(layer.conv_tr.out_channels)
        # [outputs x kernel, inputs]
        matrix = layer.conv_tr.weight.reshape(self.inputs, -1).T
        self.register_buffer("matrix", matrix.contiguous())
        self.register_buffer("bias", layer.conv_tr.bias[:, None].clone())

    def forward(self, x: Tensor | None, skip: Tensor, length: int) -> Tensor:
        """[C', stride R, T] of x and skip [C, R, T], or [C', length] of [C, time]; None is zero."""
        if not self.freq:
            return self._over_time(x, skip, length)
        _, rows, time = skip.shape
        out = skip.new_empty(self.outputs, rows * self.stride, time)
        carry = None
        for begin, end in spans(rows, max(1, TILE // (2 * self.inputs * time))):
            tile = _sum(x, skip, begin - 1, end + 1)[None]
            wide = F.conv2d(tile, self.rewrite.weight, self.rewrite.bias, padding=(0, 1))
            y = self._residuals(F.glu(wide, 1)[0])
            taps = (self.matrix @ y.view(self.inputs, -1)).view(
                self.outputs, 2, self.stride, end - begin, time
            )
            carry = self._write(taps.transpose(2, 3), carry, out, begin)
        return out

    def _over_time(self, x: Tensor | None, skip: Tensor, length: int) -> Tensor:
        frames = skip.shape[1]
        y = skip.new_empty(self.inputs, 1, frames)
        step = max(1, TILE // (2 * self.inputs))
        for begin, end in spans(frames, step):
            tile = _sum(x, skip, begin - 1, end + 1)[None]
            y[:, 0, begin:end] = F.glu(F.conv1d(tile, self.rewrite.weight, self.rewrite.bias), 1)[0]
        y = self._residuals(y)[:, 0]
        out = y.new_empty(self.outputs, frames * self.stride)
        carry = None
        for begin, end in spans(frames, step):
            taps = (self.matrix @ y[:, begin:end]).view(
                self.outputs, 2, self.stride, end - begin, 1
            )
            carry = self._write(taps.transpose(2, 3), carry, out[..., None], begin)
        return out[:, :length]

    def _write(self, taps: Tensor, carry: Tensor | None, out: Tensor, begin: int) -> Tensor:
        """Lay the taps [C', 2, R, stride, T] of a transposed convolution into its output.

        The first half of a row's taps falls where the second half of the row before it does;
        that of the last row is given back for the next tile. Half a stride is cut off at both
        ends.
        """
        margin = self.stride // 2
        first, second = taps[:, 0], taps[:, 1]
        block = first.contiguous()
        block[:, 1:] += second[:, :-1]
        if carry is not None:
            block[:, 0] += carry
        end = begin + block.shape[1]
        self._finish(
            block.flatten(1, 2)[:, margin if begin == 0 else 0 :],
            out[:, max(0, begin * self.stride - margin) : end * self.stride - margin],
        )
        carry = second[:, -1]
        if end * self.stride == out.shape[1]:
            self._finish(carry[:, :margin], out[:, -margin:])
        return carry

    def _finish(self, block: Tensor, out: Tensor) -> None:
        torch.add(block, self.bias[..., None], out=out)
        if not self.last:
            torch.ops.aten.gelu_(out)


def _cut(x: Tensor, begin: int, end: int) -> Tensor:
    """Positions `begin` to `end` of dimension 1, zeros where `x` has none."""
    size = x.shape[1]
    part = x[:, max(0, begin) : min(end, size)]
    if begin >= 0 and end <= size:
        return part
    return F.pad(part, (*((0, 0) * (x.dim() - 2)), max(0, -begin), max(0, end - size)))


def _sum(x: Tensor | None, skip: Tensor, begin: int, end: int) -> Tensor:
    part = _cut(skip, begin, end)
    return part if x is None else part + _cut(x, begin, end)
