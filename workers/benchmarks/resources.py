"""What the bundled models need: bytes on disk, memory of the demo, seconds of one core."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from checkpoints import registry
from workers.benchmarks.rows import Row
from workers.benchmarks.statistics import Estimate
from workers.benchmarks.weights import PARTS, SEPARATOR, Weights

MOST_BYTES, MOST_MEMORY, MOST_SECONDS = 40e6, 3 * 1024**3, 30.0
_LOOK_S = 0.5
_DEMO_S = 1800.0


class NotMeasured(RuntimeError):
    """The figure cannot be had here; the message says why."""


def _single(value: float) -> dict[str, Estimate]:
    return {"generated": Estimate(value, value, value, 1)}


def size_row(weights: Weights) -> Row:
    """Megabytes of all bundled weights."""
    if weights.folder is None:
        names = [card.name for card in registry.cards() if card.bundled]
    else:
        names = [SEPARATOR, *(f"reprise-{part}" for part in PARTS)]
        names += [weights.codec_of(part) for part in PARTS]
    total = sum(path.stat().st_size for name in names for path in weights.files(name).values())
    return Row("resources", "all bundled weights, MB", _single(total / 1e6), "<= 40",
               total <= MOST_BYTES)  # fmt: skip


def _below(pid: int) -> list[int]:
    children = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            if parent == pid:
                children.append(int(entry.name))
    return children + [lower for child in children for lower in _below(child)]


def _shared_out(pid: int) -> int:
    """Bytes of a process, pages that it shares counted by its share (Linux' PSS)."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 0


def demo_memory() -> float:
    """Most bytes that `reprise demo` and all its processes held at once.

    Raises:
        NotMeasured: not on Linux, not in the repository, or the demo failed.
    """
    if not Path("/proc/self/smaps_rollup").exists():
        raise NotMeasured("memory of processes is read from Linux' /proc")
    song = Path("demo/song.ogg")
    if not song.is_file():
        raise NotMeasured(f"the demo's song, {song}, is in the repository: run this from there")
    with tempfile.TemporaryDirectory(prefix="reprise-bench-") as home:
        log = Path(home) / "demo.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "service.cli", "demo", "--no-serve", "--seed", "7",
                 "--track", str(song), "--folder", f"{home}/demo"],
                env={**os.environ, "REPRISE_HOME": home}, stdout=output, stderr=output,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
            most, ends = 0, time.monotonic() + _DEMO_S
            while process.poll() is None:
                most = max(most, sum(_shared_out(p) for p in (process.pid, *_below(process.pid))))
                if time.monotonic() > ends:
                    process.kill()
                time.sleep(_LOOK_S)
        if process.returncode != 0:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise NotMeasured(f"the demo failed: {' '.join(last)}")
    return float(most)


def memory_row(weights: Weights) -> Row:
    """GiB of the demo, at most."""
    title = "memory of the demo and all its processes, GiB"
    if weights.folder is not None:
        return Row("resources", title, {}, "<= 3", None, "only for sealed weights")
    try:
        most = demo_memory()
    except NotMeasured as reason:
        return Row("resources", title, {}, "<= 3", None, f"not measured: {reason}")
    return Row("resources", title, _single(most / 1024**3), "<= 3", most <= MOST_MEMORY)


def speed_row(weights: Weights) -> Row:
    """CPU-seconds of 30 s of drums on one core.

    CPU time, because whatever else runs would count otherwise: with one thread it is the time on
    a free core.
    """
    title = "30 s of drums, 8 candidates, CPU-seconds of one thread"
    told = [] if weights.folder is None else ["--folder", str(weights.folder)]
    done = subprocess.run(
        [sys.executable, "-m", "workers.benchmarks.speed", *told],
        env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        why = " ".join(done.stderr.strip().splitlines()[-1:])
        return Row("resources", title, {}, "<= 30", None, f"not measured: {why}")
    seconds = float(json.loads(done.stdout.splitlines()[-1])["cpu_seconds"])
    return Row("resources", title, _single(seconds), "<= 30", seconds <= MOST_SECONDS)
