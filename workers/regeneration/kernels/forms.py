"""The forms in which weights are kept and numbers are told to them.

What is kept in fewer bits than 32 is multiplied two inputs at a time where the processor has
instructions for it, twice as fast as float32: the numbers are then rounded too, each row by itself.
"""

from typing import Literal, Protocol

import torch
from llvmlite import ir
from torch import Tensor
from torch.nn import functional

from workers.regeneration.kernels.building import BFLOAT, BYTE, FLOAT, SHORT, WORD, KernelWriter
from workers.regeneration.kernels.compiling import LANES, processor
from workers.regeneration.kernels.rounding import rounding

Kept = Literal["float32", "bfloat16", "int8"]
"""What a weight is kept as; sums are put down as float32 whatever it is."""

DEEP = 512
"""Inputs after which sums are put down: so much of a panel stays in the second cache for the rows
that follow. The same for all processors, so that their sums are; and no more than that many times
127 * 32767 fits 32 bits (see :class:`Int8Pairs`)."""


class Form(Protocol):
    """How weights are kept, and how a row's numbers meet them.

    Attributes:
        name: of the form, unlike all others'.
        together: inputs that a lane takes at once.
        number: as one of which so many of a row's numbers are read.
        weight: as one of which so many of a lane's weights are.
    """

    name: str
    together: int
    number: ir.Type
    weight: ir.Type

    def kept(self, weight: Tensor) -> tuple[Tensor, Tensor | None]:
        """Float32 [outputs, inputs] as it is kept, and the scale of each output.

        There may be more inputs then, which count for nothing; as many are told.
        """

    def told(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Float32 [rows, inputs] as the kernel reads it, and the scale of each row."""

    def nothing(self, k: KernelWriter) -> ir.Constant:
        """A vector of sums to begin with."""

    def weights(self, k: KernelWriter, address: ir.Value) -> ir.Value:
        """A vector of them, ready to meet numbers."""

    def met(self, k: KernelWriter, number: ir.Value, weights: ir.Value, sums: ir.Value) -> ir.Value:
        """The sums after one ``number`` has met a vector of weights."""

    def laid_down(
        self,
        k: KernelWriter,
        sums: ir.Value,
        there: ir.Value,
        x_scale: ir.Value,
        scale: ir.Value,
    ) -> ir.Value:
        """The sums as float32, added to what is ``there``; addresses of the scales, if any."""


class Float32:
    """Numbers are float32, and so are weights, at the latest when they are met: one at a time."""

    together = 1
    number = FLOAT

    def __init__(self, kept: Literal["float32", "bfloat16"]) -> None:
        self.name = "float32" if kept == "float32" else f"float32 of {kept}"
        self._dtype: torch.dtype = getattr(torch, kept)
        self._wide = kept == "float32"
        self.weight = FLOAT if self._wide else SHORT

    def kept(self, weight: Tensor) -> tuple[Tensor, None]:
        """As :class:`Form` says."""
        return weight.to(self._dtype), None

    def told(self, x: Tensor) -> tuple[Tensor, None]:
        """As :class:`Form` says."""
        return (x if x.stride(-1) == 1 else x.contiguous()), None

    def nothing(self, k: KernelWriter) -> ir.Constant:
        """As :class:`Form` says."""
        return k.constant(0.0)

    def weights(self, k: KernelWriter, address: ir.Value) -> ir.Value:
        """As :class:`Form` says."""
        if self._wide:
            return k.load(address)
        # A bfloat16 is the upper half of a float32.
        narrow = k.now.zext(k.load(address, ir.VectorType(SHORT, k.lanes)), k.words)
        upper = k.now.shl(narrow, ir.Constant(k.words, [16] * k.lanes))
        return k.now.bitcast(upper, k.vector)

    def met(self, k: KernelWriter, number: ir.Value, weights: ir.Value, sums: ir.Value) -> ir.Value:
        """As :class:`Form` says."""
        return k.fused(number, weights, sums)

    def laid_down(
        self, k: KernelWriter, sums: ir.Value, there: ir.Value, x_scale: ir.Value, scale: ir.Value
    ) -> ir.Value:
        """As :class:`Form` says."""
        return k.now.fadd(sums, there)


class BFloat16Pairs:
    """Both are bfloat16, two at a time (AVX512-BF16's ``VDPBF16PS``); sums are float32."""

    name = "bfloat16 pairs"
    together = 2
    number = WORD
    weight = WORD

    def kept(self, weight: Tensor) -> tuple[Tensor, None]:
        """As :class:`Form` says."""
        return _whole_vectors(weight).to(torch.bfloat16), None

    def told(self, x: Tensor) -> tuple[Tensor, None]:
        """As :class:`Form` says."""
        return _whole_vectors(x).to(torch.bfloat16).contiguous(), None

    def nothing(self, k: KernelWriter) -> ir.Constant:
        """As :class:`Form` says."""
        return k.constant(0.0)

    def weights(self, k: KernelWriter, address: ir.Value) -> ir.Value:
        """As :class:`Form` says."""
        return k.load(address, ir.VectorType(BFLOAT, 2 * k.lanes))

    def met(self, k: KernelWriter, number: ir.Value, weights: ir.Value, sums: ir.Value) -> ir.Value:
        """As :class:`Form` says."""
        pairs = ir.VectorType(BFLOAT, 2 * k.lanes)
        return k.intrinsic(
            "llvm.x86.avx512bf16.dpbf16ps.512",
            k.vector,
            sums,
            k.now.bitcast(number, pairs),
            weights,
        )

    def laid_down(
        self, k: KernelWriter, sums: ir.Value, there: ir.Value, x_scale: ir.Value, scale: ir.Value
    ) -> ir.Value:
        """As :class:`Form` says."""
        return k.now.fadd(sums, there)


class Int8Pairs:
    """Weights are int8 with a scale for each output, numbers int16 with one for each row.

    Two at a time: their products' sums are whole numbers of 32 bits, exact, so that they are the
    same on every processor. Between two places where sums are put down none can overflow.
    """

    name = "int8 pairs"
    together = 2
    number = WORD
    weight = SHORT

    def kept(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """As :class:`Form` says; rounded to the nearest."""
        scale = weight.abs().amax(dim=1).clamp_min(1e-8) / 127.0
        return _whole_vectors((weight / scale[:, None]).round()).to(torch.int8), scale

    def told(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As :class:`Form` says; what is no number makes its row's scale infinite."""
        x = _whole_vectors(x)
        x = x if x.stride(-1) == 1 else x.contiguous()
        rows, inputs = x.shape
        made, scale = torch.empty(rows, inputs, dtype=torch.int16), torch.empty(rows)
        rounding()(x.data_ptr(), x.stride(0), made.data_ptr(), scale.data_ptr(), rows, inputs)
        return made, scale

    def nothing(self, k: KernelWriter) -> ir.Constant:
        """As :class:`Form` says."""
        return ir.Constant(k.words, [0] * k.lanes)

    def weights(self, k: KernelWriter, address: ir.Value) -> ir.Value:
        """As :class:`Form` says."""
        narrow = k.load(address, ir.VectorType(BYTE, 2 * k.lanes))
        return k.now.sext(narrow, ir.VectorType(SHORT, 2 * k.lanes))

    def met(self, k: KernelWriter, number: ir.Value, weights: ir.Value, sums: ir.Value) -> ir.Value:
        """As :class:`Form` says."""
        # Written out; LLVM knows it as one instruction (PMADDWD, VPDPWSSD).
        now, wide = k.now, ir.VectorType(WORD, 2 * k.lanes)
        numbers = now.sext(now.bitcast(number, ir.VectorType(SHORT, 2 * k.lanes)), wide)
        products = now.mul(numbers, now.sext(weights, wide))
        first, second = (
            now.shuffle_vector(
                products,
                products,
                ir.Constant(k.words, list(range(which, 2 * k.lanes, 2))),
            )
            for which in (0, 1)
        )
        return now.add(sums, now.add(first, second))

    def laid_down(
        self, k: KernelWriter, sums: ir.Value, there: ir.Value, x_scale: ir.Value, scale: ir.Value
    ) -> ir.Value:
        """As :class:`Form` says."""
        both = k.now.fmul(k.load(scale), k.all_lanes(k.load(x_scale, FLOAT)))
        return k.fused(k.now.sitofp(sums, k.vector), both, there)


def form_of(kept: Kept) -> Form:
    """The fastest on this processor of those that keep weights so."""
    if kept == "int8":
        return Int8Pairs()
    if kept == "bfloat16" and processor().bfloat16_pairs:
        return BFloat16Pairs()
    return Float32(kept)


def _whole_vectors(x: Tensor) -> Tensor:
    """With as many zeros behind each row's inputs as fill the longest vector."""
    beyond = -x.shape[1] % LANES
    return functional.pad(x, (0, beyond)) if beyond else x
