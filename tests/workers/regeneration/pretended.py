"""A device that is none: tensors that say they are elsewhere, and compute on the CPU.

Everything a real device refuses is refused: an operation on tensors of two devices, and what was
made without saying where. What waits for a device is counted.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")
"""Every build of torch can name it, none computes on it; here it computes."""

aten = torch.ops.aten
_READS = {aten._local_scalar_dense.default, aten.nonzero.default, aten.equal.default}
_COPIES = {aten._to_copy.default, aten.copy_.default}


class TwoDevices(AssertionError):
    """An operation was given tensors of two devices."""


class Pretended(Tensor):
    """A tensor that says it is on :data:`DEVICE`."""

    inner: Tensor

    @staticmethod
    def __new__(cls: type, inner: Tensor) -> "Pretended":
        # Views count versions, and tensors of inference mode have none to count.
        with torch.inference_mode(False):
            made = Tensor._make_wrapper_subclass(
                cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(),
                dtype=inner.dtype, device=DEVICE,
            )  # fmt: skip
        made.inner = inner
        return made

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Pretended({self.inner!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {}, Counter())


class _FromNumbers(TorchFunctionMode):
    """Tensors of Python's numbers: torch makes those of this kind of device without asking."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = dict(kwargs or {})
        if func is torch.tensor and torch.device(given.get("device") or "cpu") == DEVICE:
            del given["device"]
            return torch.tensor(*args, **given).to(DEVICE)
        if func is Tensor.new_tensor and isinstance(args[0], Pretended):
            return torch.tensor(*args[1:], **{"dtype": args[0].dtype, **given}).to(DEVICE)
        return func(*args, **given)


class Pretending(TorchDispatchMode):
    """While it lasts there is such a device. ``reads`` counts what waited for it."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()
        self._numbers = _FromNumbers()

    def __enter__(self) -> Self:
        self._numbers.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._numbers.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {}, self.reads)


def _run(func: Any, args: Any, kwargs: dict[str, Any], reads: "Counter[str]") -> Any:
    given = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
    there = [value for value in given if isinstance(value, Pretended)]
    here = [value for value in given if not isinstance(value, Pretended) and value.ndim > 0]
    if there and here and func not in _COPIES:
        raise TwoDevices(f"{func}: {[(type(v).__name__, tuple(v.shape)) for v in given]}")
    target = kwargs.get("device")
    if target is not None:
        kwargs = {**kwargs, "device": torch.device("cpu"), "pin_memory": None}
        if "pin_memory" not in {argument.name for argument in func._schema.arguments}:
            del kwargs["pin_memory"]
    if func is aten.copy_.default:
        leaves = isinstance(args[1], Pretended) and not isinstance(args[0], Pretended)
    else:
        leaves = bool(there) and target is not None and torch.device(target).type == "cpu"
    if leaves or (there and func in _READS):
        reads[str(func)] += 1
    made = func(*tree_map(_inner, args), **tree_map(_inner, kwargs))
    first = func._schema.arguments[0].alias_info if func._schema.arguments else None
    if first is not None and first.is_write:
        return args[0]
    goes = torch.device(target).type == DEVICE.type if target is not None else bool(there)
    wrap: Callable[[Any], Any] = lambda v: Pretended(v) if isinstance(v, Tensor) else v  # noqa: E731
    return tree_map(wrap, made) if goes else made


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, Pretended) else value
