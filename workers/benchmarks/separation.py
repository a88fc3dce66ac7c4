"""How fast Demucs separates here and in demucs' own `apply_model`, and in how much memory.

Both separate the same noise with the same model, dtype, overlap and number of threads, in turns in
one process; the ratio is the median over the turns. Beside the time by the clock stands that of
the processor, which is less disturbed by whatever else runs. Memory is the most that a process of
its own held while it separated one long track as a remix does, less what it held before and less
the track and its stems.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import torch
from demucs.apply import apply_model
from demucs.htdemucs import HTDemucs
from torch import Tensor

from workers.benchmarks.weights import SEPARATOR, Weights, open_separator
from workers.separation.batching import MOST_LANES
from workers.separation.segments import Level
from workers.separation.separator import LONGEST_SEGMENT, Model, Separator, estimate, ready
from workers.separation.separator import OVERLAP as SERVED

MODELS = {"bundled": SEPARATOR, "htdemucs": "htdemucs' size, random weights"}
SECONDS = {"bundled": 60.0, "htdemucs": 30.0}
OVERLAP = 0.25  # demucs' own
BARS = {"cpu": 1.15, "cuda": 3.0}
AGREE = 1e-4
CEILING = 512.0
"""MiB beyond a track and its stems, of any length, for each segment that is computed at once."""
MIB = 1 << 20


@dataclass(frozen=True)
class Setting:
    """What is measured: a model on a device; threads count on a CPU, `dtype` on a GPU."""

    model: str
    device: str
    threads: int
    dtype: str = "float32"


def build(name: str) -> Model:
    """The bundled separator, or an HTDemucs of the released one's size with random weights."""
    if name == "bundled":
        return deepcopy(open_separator(Weights()))
    torch.manual_seed(0)
    return HTDemucs(
        sources=["drums", "bass", "other", "vocals"],
        bottom_channels=512,
        dconv_mode=3,
        segment=Fraction(39, 5),
    )


def noise(seconds: float, rate: int) -> Tensor:
    """A mixture float32 [2, frames]."""
    generator = torch.Generator().manual_seed(0)
    return torch.empty(2, int(seconds * rate)).normal_(generator=generator).mul_(0.1)


def by_demucs(
    model: Model, device: torch.device, segment: float, overlap: float, mixture: Tensor
) -> Tensor:
    """Stems [S, C, frames] as demucs' own `Separator` makes them, without random shifts."""
    level = Level.of(mixture)
    stems = apply_model(
        model,
        level.standardised(mixture)[None],
        shifts=0,
        split=True,
        overlap=overlap,
        segment=segment,
        device=device,
    )[0]
    given: Tensor = stems * level.deviation + level.mean
    return given


def measure(setting: Setting, seconds: float, turns: int) -> Mapping[str, Any]:
    """Seconds of audio a second of both, in turns."""
    if setting.device == "cpu":
        torch.set_num_threads(setting.threads)
    device = torch.device(setting.device)
    separator = ready(build(setting.model), device)
    model = build(setting.model).eval().to(device)
    if setting.dtype != "float32":
        for each in (separator.model, model):
            each.forward = _autocast(each.forward, getattr(torch, setting.dtype))
    mixture = noise(seconds, separator.sample_rate)
    theirs = partial(by_demucs, model, device, separator.segment, OVERLAP)
    ours = partial(estimate, separator, overlap=OVERLAP)
    short = mixture[:, : 2 * int(separator.segment * separator.sample_rate)]
    for warming in (theirs, ours):
        warming(short)
    apart, rows, busy = 0.0, [], []
    for _ in range(turns):
        before, busy_before = time.perf_counter(), time.process_time()
        expected = theirs(mixture)
        between, busy_between = time.perf_counter(), time.process_time()
        given = ours(mixture)
        after, busy_after = time.perf_counter(), time.process_time()
        rows.append((seconds / (between - before), seconds / (after - between)))
        busy.append((busy_between - busy_before) / (busy_after - busy_between))
        apart = max(apart, float((given - expected).abs().max()))
    demucs, reprise = ([row[who] for row in rows] for who in (0, 1))
    ratios = [ours / theirs for theirs, ours in rows]
    return {
        **asdict(setting),
        "seconds": seconds,
        "turns": turns,
        "demucs": statistics.median(demucs),
        "reprise": statistics.median(reprise),
        "ratio": statistics.median(ratios),
        "processor_ratio": statistics.median(busy),
        "least_ratio": min(ratios),
        "most_ratio": max(ratios),
        "apart": apart,
    }


def _autocast(forward: Callable[[Tensor], Tensor], dtype: torch.dtype) -> Any:
    def run(mix: Tensor) -> Tensor:
        with torch.autocast("cuda", dtype=dtype):
            return forward(mix).float()

    return run


def memory(setting: Setting, seconds: float, who: str) -> Mapping[str, Any]:
    """MiB that one long track needs beyond itself and its stems."""
    if setting.device == "cpu":
        torch.set_num_threads(setting.threads)
    device = torch.device(setting.device)
    model = build(setting.model)
    separator: Separator | None = None
    if who == "reprise":
        separator = ready(model, device)
    else:
        model.eval().to(device)
    mixture = noise(seconds, int(model.samplerate))
    before = _peak()
    if separator is not None:
        stems = estimate(separator, mixture, overlap=SERVED)
    else:
        segment = min(float(model.segment), LONGEST_SEGMENT)
        stems = by_demucs(model, device, segment, SERVED, mixture)
    peak = _peak()
    return {
        **asdict(setting),
        "who": who,
        "seconds": seconds,
        "track": mixture.nbytes / MIB,
        "stems": stems.nbytes / MIB,
        "peak": peak,
        "beyond": peak - before - stems.nbytes / MIB,
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def met(row: Mapping[str, Any]) -> bool:
    """Whether a row is as fast as asked, and the stems are those of demucs."""
    agree = row["apart"] <= AGREE or row["dtype"] != "float32"
    return bool(agree and row["ratio"] >= BARS[row["device"]])


def held(row: Mapping[str, Any]) -> bool:
    """Whether a track kept under the ceiling; demucs' own is only told."""
    return row["who"] != "reprise" or row["beyond"] <= CEILING * min(row["threads"], MOST_LANES)


def text(found: Mapping[str, Any]) -> str:
    """The tables."""
    head = f"{'seconds of audio a second':32}{'':>22}{'demucs':>9}{'here':>9}{'ratio':>8}"
    lines = [f"{head}{'(least, most)':>16}{'processor':>11}{'apart':>9}  bar"]
    for row in found["speed"]:
        place = f"{row['threads']} threads" if row["device"] == "cpu" else row["device"]
        between = f"({row['least_ratio']:.2f}, {row['most_ratio']:.2f})"
        bar = f">= {BARS[row['device']]} {'met' if met(row) else 'NOT MET'}"
        lines.append(
            f"{MODELS[row['model']]:32}{place + ', ' + row['dtype']:>22}{row['demucs']:9.2f}"
            f"{row['reprise']:9.2f}{row['ratio']:8.2f}{between:>16}"
            f"{row['processor_ratio']:11.2f}{row['apart']:9.0e}  {bar}"
        )
    if found["memory"]:
        lines.append(
            f"\n{'MiB of one track':32}{'':>22}{'length':>9}{'track':>8}{'stems':>8}"
            f"{'peak of all':>13}{'beyond':>9}"
        )
    for row in found["memory"]:
        lines.append(
            f"{MODELS[row['model']]:32}{row['who'] + ', ' + str(row['threads']) + ' threads':>22}"
            f"{row['seconds']:7.0f} s{row['track']:8.0f}{row['stems']:8.0f}{row['peak']:13.0f}"
            f"{row['beyond']:9.0f}"
            + (
                f"  <= {CEILING:.0f} a thread {'met' if held(row) else 'NOT MET'}"
                if row["who"] == "reprise"
                else ""
            )
        )
    if not found["cuda"]:
        lines.append("\nCUDA: not measured, there is no GPU here")
    return "\n".join(lines)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="reprise bench separation", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=tuple(MODELS), default=list(MODELS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--turns", type=int, default=5, help="how often each separates")
    parser.add_argument("--seconds", type=float, help="length of what is timed")
    parser.add_argument("--memory", type=float, default=600.0, metavar="SECONDS",
                        help="length of a track to measure memory with; 0: none")  # fmt: skip
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if min(*options.threads, options.turns) < 1:
        parser.error("--threads and --turns are at least 1")
    return options


def _alone(setting: Setting, **what: object) -> Mapping[str, Any]:
    """In a process of its own: threads and peaks cannot be taken back."""
    done = subprocess.run(
        [sys.executable, "-m", "workers.benchmarks.separation",
         "--one", json.dumps({"setting": asdict(setting), **what})],
        env={**os.environ, "OMP_NUM_THREADS": str(setting.threads)},
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    found: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; gives 1 where a bar is missed."""
    options = _options(argv)
    if options.one:
        asked = json.loads(options.one)
        setting = Setting(**asked["setting"])
        if "who" in asked:
            print(json.dumps(memory(setting, asked["seconds"], asked["who"])))
        else:
            print(json.dumps(measure(setting, asked["seconds"], asked["turns"])))
        return 0
    found: dict[str, Any] = {"speed": [], "memory": [], "cuda": torch.cuda.is_available()}
    settings = [Setting(m, "cpu", t) for m in options.models for t in options.threads]
    if found["cuda"]:
        found["cuda"] = torch.cuda.get_device_name()
        threads = torch.get_num_threads()
        settings += [
            Setting(name, "cuda", threads, dtype)
            for name in options.models
            for dtype in ("float32", "bfloat16")
        ]
    for setting in settings:
        seconds = options.seconds or SECONDS[setting.model] * (10 if found["cuda"] else 1)
        found["speed"].append(_alone(setting, seconds=seconds, turns=options.turns))
        print(json.dumps(found["speed"][-1]), file=sys.stderr)
    for name in options.models if options.memory else ():
        # The smaller model is enough to see what demucs holds of a track.
        for who in ("demucs", "reprise") if name == "bundled" else ("reprise",):
            setting = Setting(name, "cpu", max(options.threads))
            found["memory"].append(_alone(setting, seconds=options.memory, who=who))
            print(json.dumps(found["memory"][-1]), file=sys.stderr)
    print(text(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    good = all(met(row) for row in found["speed"]) and all(held(row) for row in found["memory"])
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
