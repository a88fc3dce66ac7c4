"""Products with a weight that never changes, laid out once for the device at hand.

A row's product must not depend on who shares its batch: the same job gives the same samples alone
and among others. Libraries choose a kernel by the number of rows, and with the kernel the order of
a row's additions changes. On a CPU the products are our own (see ``kernels/products.py``), whose
rows know nothing of each other; on a GPU every step has the same number of rows.
"""

from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from workers.regeneration.kernels.products import Packed

Precision = Literal["float32", "bfloat16", "int8"]
"""Of the weights. "int8" keeps one scale for each output."""

DTYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "int8": torch.bfloat16,
}
"""Of activations, keys and values where they are no finer than the weights: on a GPU."""


def computed_in(precision: Precision, device: torch.device) -> torch.dtype:
    """Of activations, keys and values: on a CPU float32, whatever the weights are kept as."""
    return torch.float32 if device.type == "cpu" else DTYPES[precision]


class Product(Protocol):
    """``x @ weight.T``."""

    def times(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """[M, inputs] to [M, outputs]; with ``onto``, that is added to it, and given."""


def laid_out(
    weight: Tensor, precision: Precision, threads: int = 1, *, gelu: bool = False
) -> Product:
    """The product with a weight, where the weight is.

    Args:
        weight: [outputs, inputs], of any floating dtype.
        precision: how it is kept.
        threads: that share a large product on a CPU.
        gelu: whether the exact GELU follows; then nothing is added to.
    """
    weight = weight.detach()
    if weight.device.type == "cpu":
        return Packed(weight, precision, gelu=gelu, threads=threads)
    if precision == "int8":
        return _Scaled(weight, gelu)
    return _Plain(weight.to(DTYPES[precision]), gelu)


class _Plain:
    def __init__(self, weight: Tensor, gelu: bool) -> None:
        self._weight, self._gelu = weight.contiguous(), gelu

    def times(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        return _finished(functional.linear(x, self._weight), self._gelu, onto)


class _Scaled:
    """One byte a weight and one scale an output, rounded to the nearest."""

    def __init__(self, weight: Tensor, gelu: bool) -> None:
        self._gelu = gelu
        scale = weight.abs().amax(dim=1).clamp_min(1e-8) / 127.0
        self._weight = (weight / scale[:, None]).round().to(torch.int8).contiguous()
        self._scale = scale.to(torch.bfloat16)

    def times(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        made: Tensor = torch._weight_int8pack_mm(x, self._weight, self._scale)
        return _finished(made, self._gelu, onto)


def _finished(made: Tensor, gelu: bool, onto: Tensor | None) -> Tensor:
    made = functional.gelu(made) if gelu else made
    return made if onto is None else onto.add_(made)
