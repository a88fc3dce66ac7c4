"""The body of `reprise bench revocation`: a table of how soon it stops, and of races."""

import json
import math
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from checkpoints import registry
from service.auth import mint_token
from service.bench.figures import percentile
from service.bench.house import BenchFailed, Models
from service.bench.processes import api_process
from service.bench.racing import Races, Revoke, Track, race
from service.bench.servers import postgres as server
from service.bench.stopping import Stop, stops
from service.database import Database
from service.embedded.stack import StartFailed
from service.migrations import migrate
from service.settings import Settings

TARGET_P99_MS = 1000.0
TOLD_EVERY = 100


def revocation_command(
    *,
    runs: int,
    races: int,
    models: Models | None,
    postgres: str | None,
    seed: int,
    file: Path | None,
) -> int:
    """Measure, print the table, and write the figures to `file`; gives the exit status.

    0: nothing was published after a revocation had returned, and the model's stop meets the
    target; 1: otherwise; 2: it could not be measured.
    """
    console = Console(highlight=False, soft_wrap=True)
    found: dict[str, Any] = {}
    folder = Path(tempfile.mkdtemp(prefix="reprise-bench-"))
    try:
        if runs:
            found["stops"] = _stops(console, folder / "stops", models or bundled(), runs, seed)
        if races:
            found["races"] = dict(_races(console, folder, races, postgres, seed))
    except (BenchFailed, StartFailed) as error:
        Console(stderr=True, highlight=False).print(str(error), style="bold red", markup=False)
        return 2
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _show(console, found)
    if file is not None:
        file.write_text(json.dumps(found, indent=1) + "\n")
    return 0 if _good(found) else 1


def bundled() -> Models:
    """The bundled generator of drums, and the separator in use."""
    card = next(
        card
        for card in registry.cards()
        if card.role == "generator" and card.bundled and "drums" in card.parts
    )
    separator = registry.separator_for("auto", commercial=False)
    return Models("drums", card.styles[0], card.name, separator.name)


def _stops(console: Console, home: Path, models: Models, runs: int, seed: int) -> dict[str, Any]:
    home.mkdir()
    seen: list[Stop] = []
    for stop in stops(Settings(home=home), models, runs, seed):
        seen.append(stop)
        console.print(
            f"  {len(seen)}/{runs}: the model stopped {stop.model_ms:.0f} ms after the DELETE "
            f"returned, the job ended after {stop.job_ms:.0f} ms"
        )
    figures = {
        name: {
            "p50": percentile(values, 0.5),
            "p99": percentile(values, 0.99),
            "max": max(values),
        }
        for name, values in (
            ("model_ms", [stop.model_ms for stop in seen]),
            ("job_ms", [stop.job_ms for stop in seen]),
            ("delete_ms", [stop.delete_ms for stop in seen]),
        )
    }
    return {
        "runs": len(seen),
        "generator": models.generator,
        "published_after_return": sum(stop.published for stop in seen),
        **figures,
    }


def _races(
    console: Console, folder: Path, races: int, postgres: str | None, seed: int
) -> Iterator[tuple[str, dict[str, int]]]:
    home = folder / "sqlite"
    yield "sqlite", _raced(console, Settings(home=home), races, seed)
    with server(postgres) as url:
        if url is None:
            console.print("PostgreSQL: not measured (name an empty database with --postgres)")
            return
        settings = Settings(home=folder / "postgresql", database_url=url)
        yield "postgresql", _raced(console, settings, races, seed)


def _raced(console: Console, settings: Settings, races: int, seed: int) -> dict[str, int]:
    settings.home.mkdir()
    database = Database(settings.database)
    migrate(database)
    book = Races()
    try:
        with api_process(settings) as url:
            for book in race(database, settings, lambda track: _over_http(url, track), races, seed):
                if book.races % TOLD_EVERY == 0:
                    console.print(f"  {database.engine.dialect.name}: {book.races}/{races} races")
    finally:
        database.dispose()
    return asdict(book)


def _over_http(url: str, track: Track) -> Revoke:
    token = mint_token(track.keys, track.settings, "artist", track.owner.subject)
    client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60.0)

    def revoke(grant_id: str) -> None:
        client.delete(f"/v1/grants/{grant_id}").raise_for_status()

    return revoke


def _show(console: Console, found: dict[str, Any]) -> None:
    if "stops" in found:
        figures = found["stops"]
        table = Table(
            title=f"{figures['runs']} revocations in the middle of {figures['generator']}"
        )
        for column in ("ms after the DELETE returned", "p50", "p99", "most"):
            table.add_column(column, justify="left" if column.startswith("ms") else "right")
        for name, words in (
            ("model_ms", "the model has stopped (target: p99 under 1,000)"),
            ("job_ms", "the job has ended"),
            ("delete_ms", "how long the DELETE itself took"),
        ):
            row = figures[name]
            table.add_row(words, *(_ms(row[key]) for key in ("p50", "p99", "max")))
        console.print(table)
    if "races" in found:
        table = Table(title="Revocations against publications of the same grant")
        names = list(found["races"])
        for column in ("", *names):
            table.add_column(column, justify="right" if column else "left")
        for name, words in (
            ("races", "races"),
            ("published_before", "published before the return"),
            ("refused_after", "refused: the revocation was first"),
            ("both_in_one_race", "races in which both happened"),
            ("published_after_return", "published after the return (target: 0)"),
            ("told_otherwise", "told otherwise than it was (target: 0)"),
        ):
            table.add_row(words, *(f"{found['races'][each][name]:,}" for each in names))
        console.print(table)


def _ms(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:,.0f}"


def _good(found: dict[str, Any]) -> bool:
    stopped = found.get("stops")
    if stopped and (
        stopped["published_after_return"] or stopped["model_ms"]["p99"] > TARGET_P99_MS
    ):
        return False
    return all(
        book["published_after_return"] == book["told_otherwise"] == 0
        for book in found.get("races", {}).values()
    )
