"""Products by our own kernels: right for any size, and the same bits whoever shares them."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from workers.regeneration.kernels import attention, compiling, forms, products
from workers.regeneration.kernels.compiling import Processor, processor
from workers.regeneration.kernels.forms import Kept
from workers.regeneration.kernels.products import Packed

SIZES = [(64, 32), (576, 192), (7, 5), (65, 1), (1, 700), (130, 1024)]


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def as_kept(weight: Tensor, kept: Kept) -> Tensor:
    """What the weight is after it was rounded, float64."""
    if kept == "int8":
        scale = weight.abs().amax(dim=1, keepdim=True).clamp_min(1e-8) / 127.0
        return (weight / scale).round().double() * scale.double()
    return weight.to(getattr(torch, kept)).double()


def as_told(x: Tensor, kept: Kept) -> Tensor:
    """What the numbers are after they were rounded for such weights, float64."""
    if kept == "int8":
        scale = x.abs().amax(dim=1, keepdim=True) / 32767.0
        return (x / scale).round().double() * scale.double()
    return (x.bfloat16() if kept == "bfloat16" and processor().bfloat16_pairs else x).double()


@pytest.mark.parametrize("kept", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize(("outputs", "inputs"), SIZES)
@pytest.mark.parametrize("gelu", [False, True])
def test_is_the_product(kept: Kept, outputs: int, inputs: int, gelu: bool) -> None:
    weight, x = numbers(outputs, inputs) / inputs**0.5, numbers(13, inputs)
    expected = as_told(x, kept) @ as_kept(weight, kept).T
    expected = functional.gelu(expected) if gelu else expected
    made = Packed(weight, kept, gelu=gelu).times(x)
    assert made.shape == (13, outputs)
    torch.testing.assert_close(made, expected.float(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kept", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize(("outputs", "inputs"), SIZES)
def test_is_added_to_what_is_there(kept: Kept, outputs: int, inputs: int) -> None:
    packed, x = Packed(numbers(outputs, inputs) / inputs**0.5, kept), numbers(9, inputs)
    there = numbers(9, outputs)
    onto = there.clone()
    assert packed.times(x, onto=onto) is onto
    torch.testing.assert_close(onto, there + packed.times(x), atol=2e-6, rtol=0)


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_a_row_knows_no_other_and_no_thread(data: st.DataObject) -> None:
    outputs, inputs = data.draw(st.sampled_from(SIZES))
    kept = data.draw(st.sampled_from(["float32", "bfloat16", "int8"]))
    weight, x = numbers(outputs, inputs), numbers(31, inputs)
    whole = Packed(weight, kept).times(x)
    first = data.draw(st.integers(0, 30))
    end = data.draw(st.integers(first + 1, 31))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "_SHARED_FROM", 0)
        shared = Packed(weight, kept, threads=data.draw(st.integers(1, 4)))
        assert torch.equal(shared.times(x[first:end]), whole[first:end])


def test_rows_may_lie_apart() -> None:
    packed, wide = Packed(numbers(64, 32), "float32"), numbers(6, 50)
    assert torch.equal(packed.times(wide[:, 3:35]), packed.times(wide[:, 3:35].contiguous()))
    turned = numbers(32, 6).T
    assert torch.equal(packed.times(turned), packed.times(turned.contiguous()))


@pytest.mark.parametrize("kept", ["float32", "bfloat16", "int8"])
def test_what_is_no_number_stays_in_its_row(kept: Kept) -> None:
    x = numbers(8, 192)
    x[3, 7], x[5, 0] = float("nan"), float("inf")
    for gelu in (False, True):
        packed = Packed(numbers(128, 192), kept, gelu=gelu)
        made, alone = packed.times(x), packed.times(x[:3])
        assert made[3].isnan().all()
        assert not made[5].isfinite().any()
        assert torch.equal(made[:3], alone)


def test_the_largest_sums_of_scaled_weights_fit() -> None:
    """Every number and every weight as large as it can be, all of one sign."""
    made = Packed(torch.ones(64, 4096), "int8").times(torch.ones(3, 4096))
    torch.testing.assert_close(made, torch.full((3, 64), 4096.0), atol=0.01, rtol=0)


def test_rows_of_any_size_are_told_to_scaled_weights() -> None:
    packed, x = Packed(numbers(64, 192), "int8"), numbers(4, 192)
    sizes = torch.tensor([1e-28, 1.0, 1e9, 0.0])[:, None]
    made, plain = packed.times(x * sizes), packed.times(x)
    torch.testing.assert_close(made, plain * sizes, rtol=1e-3, atol=1e-31)
    assert not made[3].any()


@pytest.mark.parametrize("kept", ["float32", "int8"])
@pytest.mark.parametrize(("lanes", "registers"), [(4, 16), (4, 32), (8, 16), (8, 32)])
def test_other_processors_vectors_give_the_same(
    kept: Kept, lanes: int, registers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shorter vectors than this machine may have compute the same sums in the same order."""
    weight, x = numbers(130, 700), numbers(7, 700)
    here = Packed(weight, kept).times(x)
    vectors(monkeypatch, lanes, registers)
    assert torch.equal(Packed(weight, kept).times(x), here)


def test_bfloat16_without_instructions_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, x = numbers(130, 700) / 26, numbers(7, 700)
    vectors(monkeypatch, 8, 16)
    expected = x.double() @ as_kept(weight, "bfloat16").T
    made = Packed(weight, "bfloat16").times(x)
    torch.testing.assert_close(made, expected.float(), atol=1e-5, rtol=0)


def vectors(monkeypatch: pytest.MonkeyPatch, lanes: int, registers: int) -> None:
    """Have kernels built for another processor's."""
    smaller: Processor = dataclasses.replace(
        processor(), lanes=lanes, registers=registers, bfloat16_pairs=False
    )
    for module in (compiling, forms, products):
        monkeypatch.setattr(module, "processor", lambda: smaller)


@pytest.mark.parametrize("kept", ["float32", "bfloat16", "int8"])
def test_what_does_not_fit_is_refused(kept: Kept) -> None:
    packed, x = Packed(numbers(64, 32), kept), numbers(3, 32)
    for wrong in (x.double(), x[:, :31], x[None], x.bfloat16()):
        with pytest.raises(ValueError, match="the weight takes 32"):
            packed.times(wrong)
    there = numbers(3, 64)
    for onto in (there.double(), there[:2], there[:, :63], numbers(64, 3).T):
        with pytest.raises(ValueError, match="not 64 a row"):
            packed.times(x, onto=onto)
    assert packed.times(x[:0]).shape == (0, 64)


def test_a_kernel_is_compiled_once() -> None:
    assert attention.attention(20) is attention.attention(20)
