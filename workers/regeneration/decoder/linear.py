"""Products with a weight that never changes, laid out once for the processor at hand.

A row's product must not depend on who shares its batch: the same job gives the same samples alone
and among others. BLAS chooses a kernel by the number of rows, and with the kernel the order of a
row's additions changes. :func:`least_rows` finds out on this machine from how many rows on that no
longer happens; products are never given fewer.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Precision = Literal["float32", "bfloat16", "int8"]
"""Of the weights. "int8" keeps one scale for each output and computes in bfloat16."""

DTYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "int8": torch.bfloat16,
}
Product = Callable[[Tensor], Tensor]
"""[M, inputs] to [M, outputs], both of the precision's dtype."""

_EXPECTED_ROWS = 16
"""oneDNN lays a weight out for about so many rows; any number may be given."""


def laid_out(weight: Tensor, precision: Precision, *, gelu: bool = False) -> Product:
    """The product ``x @ weight.T``, and GELU after it where asked for.

    Args:
        weight: [outputs, inputs], of any floating dtype.
        precision: how the weight is kept, and in which dtype is computed.
        gelu: the exact one, of the error function.
    """
    weight = weight.detach()
    if precision == "int8":
        return _scaled(weight, gelu)
    weight = weight.to(DTYPES[precision]).contiguous()
    if weight.device.type == "cpu" and torch.backends.mkldnn.is_available():
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, _EXPECTED_ROWS)
        after, which = ("gelu", "none") if gelu else ("none", "")
        return lambda x: torch.ops.mkldnn._linear_pointwise(x, packed, None, after, [], which)
    if gelu:
        return lambda x: functional.gelu(functional.linear(x, weight))
    return lambda x: functional.linear(x, weight)


def _scaled(weight: Tensor, gelu: bool) -> Product:
    """One byte a weight and one scale an output, rounded to the nearest."""
    scale = weight.abs().amax(dim=1).clamp_min(1e-8) / 127.0
    rounded = (weight / scale[:, None]).round().to(torch.int8).contiguous()
    scale = scale.to(torch.bfloat16)

    def product(x: Tensor) -> Tensor:
        made: Tensor = torch._weight_int8pack_mm(x, rounded, scale)
        return functional.gelu(made) if gelu else made

    return product


def least_rows(
    products: Sequence[tuple[Product, int]],
    rows: int,
    precision: Precision,
    device: torch.device,
) -> int:
    """From how many rows on a row's product depends neither on their number nor on its place.

    Args:
        products: each with the number of its inputs.
        rows: the most that will share a batch.
        precision: of the products.
        device: where their weights are.

    Returns:
        A power of two, or ``rows`` where nothing less will do: every product must then be given
        that many, empty ones included.
    """
    generator = torch.Generator().manual_seed(0)
    made = []
    for product, inputs in products:
        x = torch.randn(rows, inputs, generator=generator).to(device, DTYPES[precision])
        made.append((product, x, product(x)))
    counts = sorted({2**k for k in range(rows.bit_length()) if 2**k < rows} | {3, 5, 24} - {rows})
    least = 1
    for count in (c for c in counts if c < rows):
        for product, x, whole in made:
            starts = {0, (rows - count) // 2, rows - count}
            if any(
                not torch.equal(product(x[s : s + count]), whole[s : s + count]) for s in starts
            ):
                least = count + 1
                break
    power = 1 << (least - 1).bit_length()
    return min(power, rows)
