"""Separation equals demucs' own `apply_model`, in tiles, in batches and over any length.

Random weights, and the bundled ones. Demucs begins with residual branches that all but vanish and
norms that do nothing; here both are drawn at random, or a mistake in them could not be seen.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from copy import deepcopy
from fractions import Fraction
from typing import Any

import pytest
import torch
from demucs.apply import apply_model
from demucs.demucs import DConv
from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs
from torch import Tensor, nn
from torch.nn.functional import pad

from workers.benchmarks.weights import Weights, open_separator
from workers.separation import separator as separation
from workers.separation.batching import Batcher
from workers.separation.consistent import ConsistentHDemucs
from workers.separation.quick import Quick
from workers.separation.segments import BLOCK, Layout, Level
from workers.separation.separator import Model, Separator, ready

RATE = 44_100
CPU = torch.device("cpu")
CLOSE = 1e-4
MAGNITUDE: dict[str, Any] = {
    "hybrid": False,
    "cac": False,
    "wiener_iters": -1,
    "end_iters": -1,
    "depth": 5,
    "dconv_attn": 9,
}
MODELS: dict[str, Callable[[], Model]] = {
    "htdemucs": lambda: HTDemucs(SOURCES, channels=16, t_layers=2, dconv_mode=3,
                                 bottom_channels=64, segment=Fraction(1)),
    "htdemucs-plain-bottom": lambda: HTDemucs(SOURCES, channels=16, t_layers=0, dconv_mode=1,
                                              segment=Fraction(1)),
    "consistent": lambda: ConsistentHDemucs(SOURCES, channels=16, segment=1, **MAGNITUDE),
    "magnitude": lambda: HDemucs(SOURCES, channels=16, segment=1, **MAGNITUDE),
    "hybrid": lambda: HDemucs(SOURCES, channels=16, segment=1),
}  # fmt: skip
SOURCES = ["drums", "bass", "other", "vocals"]


def built(name: str) -> Model:
    torch.manual_seed(5)
    model = MODELS[name]()
    for module in model.modules():
        if isinstance(module, DConv):
            for branch in module.layers:
                nn.init.uniform_(branch[-1].scale, 0.2, 0.5)
        if isinstance(module, nn.GroupNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return model.eval().requires_grad_(False)


def noise(frames: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    # An offset and two levels, so that standardising matters.
    return torch.randn(2, frames, generator=generator) * torch.tensor([[0.2], [0.05]]) + 0.01


def demucs(model: Model, mixture: Tensor, segment: float, overlap: float) -> Tensor:
    """As demucs' own `Separator`, but for an HDemucs with enough zeros for the last STFT."""
    frames = mixture.shape[-1]
    stride = int((1 - overlap) * int(RATE * segment))
    shortest, last = min(stride, RATE // 2), frames % stride
    zeros = shortest - last if isinstance(model, HDemucs) and 0 < last < shortest else 0
    reference = mixture.mean(0)
    mean, deviation = reference.mean(), reference.std(correction=0) + 1e-8
    standardised = pad(((mixture - mean) / deviation)[None], (0, zeros))
    with torch.inference_mode():
        stems = apply_model(model, standardised, shifts=0, overlap=overlap, segment=segment)[0]
        return stems[..., :frames] * deviation + mean


def lengths(segment: float, overlap: float) -> dict[str, int]:
    whole = int(RATE * segment)
    stride = int((1 - overlap) * whole)
    return {
        "shorter than a segment": whole * 2 // 3,
        "one segment": whole,
        "a sample more than a stride": stride + 1,
        "a sample less than two strides": 2 * stride - 1,
        "more": 2 * whole + 4321,
    }


@pytest.mark.parametrize("overlap", [0.1, 0.25])
@pytest.mark.parametrize("name", MODELS)
def test_stems_equal_those_of_demucs(name: str, overlap: float) -> None:
    model = built(name)
    separator = ready(built(name), CPU)
    assert isinstance(separator.model, Quick)
    for words, frames in lengths(separator.segment, overlap).items():
        mixture = noise(frames)
        given = separation.estimate(separator, mixture, overlap=overlap)
        expected = demucs(model, mixture, separator.segment, overlap)
        assert given.shape == expected.shape
        assert float((given - expected).abs().max()) <= CLOSE, words
        assert float(expected.std()) > 100 * CLOSE, "nothing that could differ"


@pytest.mark.parametrize("frames", [200_000, int(10 * RATE), int(9 * RATE) + 1])
def test_the_bundled_separator_equals_demucs(frames: int) -> None:
    # The process keeps one for all, and getting ready leaves marks on a model.
    model = deepcopy(open_separator(Weights()))
    separator = ready(model, CPU)
    assert isinstance(separator.model, Quick)
    mixture = noise(frames)
    given = separation.estimate(separator, mixture)
    expected = demucs(model, mixture, 10.0, separation.OVERLAP)
    assert float((given - expected).abs().max()) <= CLOSE


def test_wide_batches_equal_demucs() -> None:
    """As on a GPU: batches of fixed width, of a model that is demucs' own."""
    model = built("htdemucs")
    separator = wide(model, width=4)
    mixture = noise(6 * int(RATE * separator.segment))
    given = separation.estimate(separator, mixture)
    expected = demucs(model, mixture, separator.segment, separation.OVERLAP)
    assert float((given - expected).abs().max()) <= CLOSE


def wide(model: Model, width: int) -> Separator:
    frames = int(RATE * model.segment)
    return Separator(
        model=model,
        sources=tuple(model.sources),
        sample_rate=RATE,
        channels=2,
        segment=float(model.segment),
        device=CPU,
        name="wide",
        digest="",
        whole=isinstance(model, HTDemucs),
        batcher=Batcher(model, CPU, frames, width=width),
    )


@pytest.mark.parametrize("name", ["htdemucs", "consistent"])
@pytest.mark.parametrize("way", ["lanes", "wide"])
def test_samples_do_not_depend_on_company(name: str, way: str) -> None:
    """Alone, and while two other mixtures of other lengths and levels share the model."""
    model = built(name)
    if way == "lanes":
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        separator = ready(model, CPU)
    else:
        separator = wide(model, width=3)
    whole = int(RATE * separator.segment)
    mixtures = [noise(2 * whole + 999, 1), 10 * noise(3 * whole, 2), noise(whole // 2, 3)]
    alone = [separation.estimate(separator, mixture) for mixture in mixtures]
    together: dict[int, Tensor] = {}

    def one(index: int) -> None:
        together[index] = separation.estimate(separator, mixtures[index])

    threads = [threading.Thread(target=one, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if way == "lanes":
        assert torch.get_num_threads() == 2
        torch.set_num_threads(before)
    for index, expected in enumerate(alone):
        assert torch.equal(together[index], expected)


class Fake(nn.Module):
    """A model of one layer, which is a function."""

    def __init__(self, layer: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, mix: Tensor) -> Tensor:
        return self.layer(mix)[:, None].repeat(1, 4, 1, 1)


def test_a_batch_holds_segments_of_several_mixtures() -> None:
    batches: list[list[float]] = []
    entered, go = threading.Event(), threading.Event()

    def layer(mix: Tensor) -> Tensor:
        batches.append(mix[:, 0, 0].tolist())
        entered.set()
        assert go.wait(60)
        return mix

    batcher = Batcher(Fake(layer), CPU, 8, width=4)
    taken: dict[float, list[float]] = {}

    def caller(value: float, count: int) -> None:
        taken[value] = []
        windows = (torch.full((2, 8), value + index) for index in range(count))
        batcher.run(windows, lambda stems: taken[value].append(float(stems[0, 0, 0])))

    first = threading.Thread(target=caller, args=(10.0, 1))
    first.start()
    assert entered.wait(60)
    others = [threading.Thread(target=caller, args=(value, 2)) for value in (20.0, 30.0)]
    for thread in others:
        thread.start()
    while len(batcher._line) < 4:
        time.sleep(0.01)
    go.set()
    for thread in [first, *others]:
        thread.join()
    assert batches[0] == [10.0, 0.0, 0.0, 0.0]
    assert sorted(batches[1]) == [20.0, 21.0, 30.0, 31.0]
    assert taken == {10.0: [10.0], 20.0: [20.0, 21.0], 30.0: [30.0, 31.0]}


def test_a_failure_reaches_its_caller_and_nobody_else() -> None:
    def layer(mix: Tensor) -> Tensor:
        if float(mix[0, 0, 0]) < 0:
            raise MemoryError("too much")
        return mix

    batcher = Batcher(Fake(layer), CPU, 8)
    taken: list[Tensor] = []
    with pytest.raises(MemoryError, match="too much"):
        batcher.run([torch.ones(2, 8), -torch.ones(2, 8), torch.ones(2, 8)], taken.append)
    assert len(taken) == 1
    batcher.run([torch.ones(2, 8)] * 3, taken.append)
    assert len(taken) == 4


def test_who_gives_up_stops_the_model_between_two_layers() -> None:
    entered, go, ended = threading.Event(), threading.Event(), threading.Event()
    reached: list[str] = []

    class Layer(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def forward(self, mix: Tensor) -> Tensor:
            reached.append(self.name)
            if self.name == "first":
                entered.set()
                assert go.wait(60)
            return mix

    class Model(nn.Sequential):
        def forward(self, mix: Tensor) -> Tensor:
            try:
                given: Tensor = super().forward(mix)
                return given[:, None]
            finally:
                ended.set()

    batcher = Batcher(Model(Layer("first"), Layer("second")), CPU, 8)
    asked = 0

    def stop() -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            assert entered.wait(60)
            raise InterruptedError("the listener left")

    with pytest.raises(InterruptedError):
        batcher.run([torch.ones(2, 8)] * 4, lambda stems: None, stop)
    go.set()
    assert ended.wait(60)
    assert reached == ["first"]
    taken: list[Tensor] = []
    batcher.run([torch.ones(2, 8)] * 2, taken.append)
    assert len(taken) == 2
    assert reached == ["first"] + ["first", "second"] * 2


def test_windows_are_made_as_they_are_needed() -> None:
    made: list[int] = []
    taken: list[Tensor] = []

    def windows() -> Any:
        for index in range(20):
            made.append(index)
            assert len(made) - len(taken) <= 2 + 1
            yield torch.zeros(2, 8)

    Batcher(Fake(lambda mix: mix), CPU, 8, lanes=2).run(windows(), taken.append)
    assert len(taken) == 20


def test_the_level_of_a_long_mixture_is_that_of_the_whole() -> None:
    mixture = torch.cat([noise(BLOCK, 1), 3 * noise(BLOCK, 2) + 0.2, noise(777, 3)], dim=1)
    level = Level.of(mixture)
    reference = mixture.double().mean(0)
    assert float(level.mean) == pytest.approx(float(reference.mean()), rel=1e-5)
    assert float(level.deviation) == pytest.approx(float(reference.std(correction=0)), rel=1e-5)


def test_a_layout_without_a_stride_is_refused() -> None:
    with pytest.raises(ValueError, match="move on"):
        Layout.of(100, RATE, 1.0, 1.0, whole=False)
    with pytest.raises(ValueError, match="has frames"):
        Layout.of(0, RATE, 1.0, 0.1, whole=True)


MEMORY = """
import resource, torch
from workers.separation.consistent import ConsistentHDemucs
from workers.separation.separator import estimate, ready

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

torch.manual_seed(0)
model = ConsistentHDemucs(
    ["drums", "bass", "other", "vocals"], channels=16, depth=5, segment=1, hybrid=False,
    cac=False, wiener_iters=-1, end_iters=-1, dconv_attn=9,
)
separator = ready(model, torch.device("cpu"))
kept = estimate(separator, torch.randn(2, 10 * 44100))
before = peak()
mixture = torch.empty(2, 90 * 44100).normal_()
stems = estimate(separator, mixture)
print(peak() - before - mixture.nbytes - stems.nbytes)
"""


def test_memory_beyond_the_track_and_its_stems_does_not_grow() -> None:
    """Of 90 s instead of 10 s: a copy of the mixture alone would be 28 MB more."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True, timeout=200
    )
    assert int(done.stdout) < 16 * 2**20
