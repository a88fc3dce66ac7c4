"""The body of `reprise bench jobs`: whole jobs, batched and one by one."""

import json
import shutil
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from service.bench.command import bundled
from service.bench.figures import percentile
from service.bench.house import BenchFailed, Models
from service.bench.jobs import BATCHED, ONE_BY_ONE, Round, Way, opened, run
from service.embedded.stack import StartFailed
from service.settings import Settings


def jobs_command(
    *, jobs: int, seconds: float, compare: bool, models: Models | None, file: Path | None
) -> int:
    """Measure, print the table, and write the figures to `file`; gives the exit status.

    0: it was measured; 2: it could not be.
    """
    console = Console(highlight=False, soft_wrap=True)
    folder = Path(tempfile.mkdtemp(prefix="reprise-bench-"))
    found: dict[str, dict[str, Any]] = {}
    try:
        for way in (BATCHED, ONE_BY_ONE) if compare else (BATCHED,):
            console.print(f"{jobs} jobs, {way.name}")
            home = folder / way.name.replace(" ", "-")
            home.mkdir()
            with opened(Settings(home=home), models or bundled(), way, seconds) as (house, stack):
                found[way.name] = figures(run(house, stack, jobs), way)
    except (BenchFailed, StartFailed) as error:
        Console(stderr=True, highlight=False).print(str(error), style="bold red", markup=False)
        return 2
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    console.print(_table(found, jobs, seconds))
    for name, told in found.items():
        tenths = ", ".join(f"{most / 1e6:.0f}" for most in told["memory_tenths"])
        console.print(
            f"{name}: the worker's memory, the most in each tenth of the jobs, MB: {tenths}"
        )
    if len(found) > 1:
        ratio = found[BATCHED.name]["jobs_a_minute"] / found[ONE_BY_ONE.name]["jobs_a_minute"]
        console.print(f"batched makes {ratio:.2f} times as many jobs a minute")
    if file is not None:
        file.write_text(json.dumps({"jobs": jobs, "seconds": seconds, **found}, indent=1) + "\n")
    return 0


def figures(seen: Round, way: Way) -> dict[str, Any]:
    """What is told of a round; memory is the most in each tenth of its jobs."""
    ends = [len(seen.memory) * part // 10 for part in range(11)]
    tenths = [max(seen.memory[a:b]) for a, b in pairwise(ends) if b > a]
    return {
        "worker_jobs": way.worker_jobs,
        "engine_rows": way.engine_rows,
        "jobs_a_minute": 60.0 * len(seen.published) / seen.seconds,
        "queued_s": {"p50": percentile(seen.queued, 0.5), "p95": percentile(seen.queued, 0.95)},
        "first_sound_s": {
            "p50": percentile(seen.first_sound, 0.5),
            "p95": percentile(seen.first_sound, 0.95),
        },
        "published_s": {
            "p50": percentile(seen.published, 0.5),
            "p95": percentile(seen.published, 0.95),
        },
        "model_busy_share": seen.model_seconds / seen.seconds,
        "memory_tenths": tenths,
    }


def _table(found: dict[str, dict[str, Any]], jobs: int, seconds: float) -> Table:
    table = Table(title=f"{jobs} jobs of {seconds:g} s, asked for at once")
    table.add_column("", no_wrap=True)
    for name in found:
        table.add_column(name, justify="right")

    def row(label: str, *path: str, unit: float = 1.0, form: str = ".1f") -> None:
        cells = []
        for figures in found.values():
            value: Any = figures
            for key in path:
                value = value[key]
            cells.append(f"{value / unit:{form}}")
        table.add_row(label, *cells)

    row("jobs in hand at once", "worker_jobs", form=".0f")
    row("jobs a minute", "jobs_a_minute")
    row("s in the queue, p50", "queued_s", "p50")
    row("s in the queue, p95", "queued_s", "p95")
    row("s to its first sound, p50", "first_sound_s", "p50")
    row("s to its first sound, p95", "first_sound_s", "p95")
    row("s to its publication, p50", "published_s", "p50")
    row("s to its publication, p95", "published_s", "p95")
    row("the model is busy, share", "model_busy_share", form=".2f")
    return table
