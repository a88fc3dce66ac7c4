"""A separation whose device does not answer ends the worker, as a generation does."""

import os
import subprocess
import sys
import threading

import torch
from torch import Tensor, nn

from workers.separation.batching import Batcher

CPU = torch.device("cpu")


class Held(nn.Module):
    """Two layers, of which the second waits until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Identity(), nn.Identity()
        self.reached, self.go = threading.Event(), threading.Event()
        self.second.register_forward_pre_hook(lambda *_: self._wait())

    def _wait(self) -> None:
        self.reached.set()
        assert self.go.wait(30)

    def forward(self, mix: Tensor) -> Tensor:
        stem: Tensor = self.second(self.first(mix))
        return stem[:, None]


def test_a_device_that_does_not_answer_is_noticed() -> None:
    wedged, model, taken = threading.Event(), Held(), []
    batcher = Batcher(model, CPU, 8, name="held", wedged_s=0.3, on_wedged=wedged.set)
    model.go.set()
    batcher.run([torch.ones(2, 8)], taken.append)
    assert not wedged.wait(0.6), "a separator without work is not wedged"
    model.go.clear()
    model.reached.clear()
    run = threading.Thread(target=batcher.run, args=([torch.ones(2, 8)], taken.append))
    run.start()
    assert model.reached.wait(30)
    assert wedged.wait(10)
    model.go.set()
    run.join(30)
    assert len(taken) == 2


def test_one_lane_that_does_not_answer_is_noticed_while_another_works() -> None:
    wedged, model = threading.Event(), Held()
    batcher = Batcher(model, CPU, 8, lanes=2, name="held", wedged_s=0.3, on_wedged=wedged.set)
    held = threading.Thread(target=batcher.run, args=([torch.ones(2, 8)], lambda _: None))
    held.start()
    assert model.reached.wait(30)
    serve, other = batcher._model, nn.Identity()
    batcher._model = _Unsqueezed(other)
    while not wedged.is_set():
        batcher.run([torch.ones(2, 8)], lambda _: None)
    batcher._model = serve
    model.go.set()
    held.join(30)
    assert wedged.is_set()


class _Unsqueezed(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, mix: Tensor) -> Tensor:
        stem: Tensor = self.layer(mix)
        return stem[:, None]


def test_a_wedged_process_ends() -> None:
    """Its jobs' leases run out, and other workers take them."""
    script = (
        "import time, torch\n"
        "from workers.separation.batching import Batcher\n"
        "class Wedged(torch.nn.Module):\n"
        "    def forward(self, mix): time.sleep(600)\n"
        "batcher = Batcher(Wedged(), torch.device('cpu'), 8, name='tiny', wedged_s=0.5)\n"
        "batcher.run([torch.ones(2, 8)], print)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == os.EX_SOFTWARE
    assert "tiny: no step has ended" in done.stderr
    assert "does not answer" in done.stderr
