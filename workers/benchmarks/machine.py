"""What a machine can do at most: bytes read a second, and operations a second."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

LARGE = 512 * 1024**2
"""Bytes that fit into no cache."""

_EDGE = 2048
_TRIES = 5


@dataclass(frozen=True)
class Machine:
    """Measured with the threads of this process.

    Attributes:
        far: bytes a second of a sum over :data:`LARGE` bytes, which come from memory.
        near: the same over as many bytes as a model's weights have, again and again: they may
            stay in a cache.
        peak: operations a second of a large product; a multiplication and an addition are two.
    """

    far: float
    near: float
    peak: float

    def floor_s(self, weight_bytes: int, operations: float) -> float:
        """Seconds that a step takes at least: it reads all weights, and computes."""
        return max(weight_bytes / max(self.near, self.far), operations / self.peak)


def wait_for(device: torch.device) -> None:
    """Return when a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _best(act: Callable[[], object], device: torch.device, times: int = 1) -> float:
    """Seconds of the fastest try, each of ``times`` calls, per call."""
    act()
    seconds = []
    for _ in range(_TRIES):
        wait_for(device)
        before = time.perf_counter()
        for _ in range(times):
            act()
        wait_for(device)
        seconds.append((time.perf_counter() - before) / times)
    return min(seconds)


def _read(size: int, device: torch.device) -> float:
    data = torch.ones(max(1, size // 4), device=device)
    return 4 * len(data) / _best(data.sum, device, max(1, min(100, LARGE // 4 // max(1, size))))


@torch.inference_mode()
def measured(weight_bytes: int, dtype: torch.dtype, device: torch.device) -> Machine:
    """Measure for a few seconds.

    Args:
        weight_bytes: of the model.
        dtype: that it computes in.
        device: where.
    """
    a = torch.randn(_EDGE, _EDGE, device=device).to(dtype)
    b = torch.randn(_EDGE, _EDGE, device=device).to(dtype)
    return Machine(
        far=_read(LARGE, device),
        near=_read(weight_bytes, device),
        peak=2 * _EDGE**3 / _best(lambda: a @ b, device),
    )
