"""The bodies of `reprise bench log` and `reprise bench fingerprint`: what size costs."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

from service.bench import growth, recognising
from service.bench.growth import Cost
from service.bench.recognising import Asked
from service.bench.servers import postgres as server
from service.database import Database
from service.migrations import migrate
from service.settings import Settings
from service.transparency.log_keys import LogKeys

TOLD_EVERY = 100_000
TARGET_MS = 50.0
INGESTED = "ingested"
Figures = TypeVar("Figures")
LOG_WORDS = {
    "append": "an entry, in its own transaction",
    "sign": "an entry, its place and a signed checkpoint",
    "inclusion": "a proof of inclusion",
    "consistency": "a proof of consistency",
}


def log_command(
    *, entries: int, times: int, postgres: str | None, seed: int, file: Path | None
) -> int:
    """Measure the public log at `entries`, print the table, write the figures; gives 0."""
    console = Console(highlight=False, soft_wrap=True)

    def measure(name: str, database: Database, settings: Settings) -> dict[str, Cost]:
        keys = LogKeys(settings)
        for done in growth.fill(database, keys, entries):
            if done % TOLD_EVERY == 0:
                console.print(f"  {name}: {done:,} of {entries:,} entries")
        return growth.costs(database, keys, entries, times, seed)

    found = dict(_on_both(console, postgres, measure))
    _print(console, f"The public log at {entries:,} entries, milliseconds", LOG_WORDS, found)
    _write(file, {"entries": entries, "times": times, **_plain(found)})
    return 0


def fingerprint_command(
    *,
    recordings: int,
    seconds: float,
    lengths: Sequence[float],
    times: int,
    postgres: str | None,
    seed: int,
    file: Path | None,
) -> int:
    """Measure the search among `recordings`, print the table, write the figures.

    0: every median of verification is under `TARGET_MS`; 1: otherwise. Ingestion's comparison
    reads more, and no request waits for it: it is asked a tenth of the times.
    """
    console = Console(highlight=False, soft_wrap=True)

    def measure(name: str, database: Database, _: Settings) -> dict[str, Asked]:
        for done in recognising.fill(database, recordings, seconds):
            if done % (TOLD_EVERY // 10) == 0:
                console.print(f"  {name}: {done:,} of {recordings:,} recordings")
        answers = {}
        for length in lengths:
            asked = recognising.ask(database, recordings, seconds, length, times, seed)
            answers[f"{length:g}"] = asked
            console.print(f"  {name}: {length:g} s: {asdict(asked)}")
        answers[INGESTED] = recognising.ask(
            database, recordings, seconds, seconds, -(-times // 10), seed, recognising.ingested
        )
        return answers

    found = dict(_on_both(console, postgres, measure))
    table = Table(
        title=f"A sound among {recordings:,} recordings of {seconds:g} s, milliseconds",
        caption=f"target: a median under {TARGET_MS:g}",
    )
    for column in ("", "copy of", "p50", "p99", "most", "CPU", "found", "found wrongly"):
        table.add_column(column, justify="right")
    for name, answers in found.items():
        for length, asked in answers.items():
            cost = asked.cost
            table.add_row(
                name,
                "ingestion" if length == INGESTED else f"{length} s",
                *(f"{each:,.1f}" for each in (cost.p50, cost.p99, cost.most, cost.cpu)),
                f"{asked.found} of {asked.copies}",
                f"{asked.mistaken} of {asked.copies + asked.strangers}",
            )
    console.print(table)
    figures = {
        name: {length: asdict(asked) for length, asked in answers.items()}
        for name, answers in found.items()
    }
    _write(file, {"recordings": recordings, "seconds": seconds, "times": times, **figures})
    medians = [
        asked.cost.p50
        for answers in found.values()
        for length, asked in answers.items()
        if length != INGESTED
    ]
    return 0 if max(medians) < TARGET_MS else 1


def _on_both(
    console: Console,
    postgres: str | None,
    measure: Callable[[str, Database, Settings], Figures],
) -> Iterator[tuple[str, Figures]]:
    """What `measure` gives for an empty database of each kind, by name."""
    with _folder() as folder:
        settings = Settings(home=folder / "sqlite", database_url=None)
        yield "SQLite", _measured("SQLite", settings, measure)
        with server(postgres) as url:
            if url is None:
                console.print("PostgreSQL: not measured (name an empty database with --postgres)")
                return
            settings = Settings(home=folder / "postgresql", database_url=url)
            yield "PostgreSQL", _measured("PostgreSQL", settings, measure)


def _measured(
    name: str,
    settings: Settings,
    measure: Callable[[str, Database, Settings], Figures],
) -> Figures:
    settings.home.mkdir()
    database = Database(settings.database)
    try:
        migrate(database)
        return measure(name, database, settings)
    finally:
        database.dispose()


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="reprise-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _print(
    console: Console,
    title: str,
    words: Mapping[str, str],
    found: Mapping[str, Mapping[str, Cost]],
) -> None:
    table = Table(title=title)
    for column in ("", "", "p50", "p99", "most", "CPU"):
        table.add_column(column, justify="right" if column else "left")
    for name, costs in found.items():
        for key, meaning in words.items():
            cost = costs[key]
            figures = (cost.p50, cost.p99, cost.most, cost.cpu)
            table.add_row(name, meaning, *(f"{figure:,.1f}" for figure in figures))
    console.print(table)


def _plain(found: Mapping[str, Mapping[str, Cost]]) -> dict[str, Any]:
    return {
        name: {key: asdict(cost) for key, cost in costs.items()} for name, costs in found.items()
    }


def _write(file: Path | None, figures: Mapping[str, Any]) -> None:
    if file is not None:
        file.write_text(json.dumps(figures, indent=1) + "\n")
