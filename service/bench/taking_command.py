"""The body of `reprise bench takedown`: a table of what taking back a hit costs, by its size."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from service.bench.processes import api_process
from service.bench.servers import postgres as server
from service.bench.taking import Taken, measure
from service.database import Database
from service.migrations import migrate
from service.settings import Settings


def takedown_command(*, sizes: Sequence[int], postgres: str | None, file: Path | None) -> int:
    """Measure on SQLite and PostgreSQL, print the table, and write the figures to `file`."""
    console = Console(highlight=False, soft_wrap=True)
    folder = Path(tempfile.mkdtemp(prefix="reprise-bench-"))
    found: dict[str, list[Taken]] = {}
    try:
        found["SQLite"] = _measured(Settings(home=folder / "sqlite"), sizes)
        with server(postgres) as url:
            if url is None:
                console.print("PostgreSQL: not measured (name an empty database with --postgres)")
            else:
                settings = Settings(home=folder / "postgresql", database_url=url)
                found["PostgreSQL"] = _measured(settings, sizes)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    table = Table(title="Revoking a grant that says `takedown`, seconds")
    for column in ("", "remixes", "the DELETE", "all paid back", "longest wait of a writer"):
        table.add_column(column, justify="right" if column else "left")
    for name, rows in found.items():
        for each in rows:
            figures = (each.delete, each.paid_back, each.waited)
            table.add_row(name, f"{each.remixes:,}", *(f"{figure:,.2f}" for figure in figures))
    console.print(table)
    if file is not None:
        figures_of = {name: [asdict(each) for each in rows] for name, rows in found.items()}
        file.write_text(json.dumps(figures_of, indent=1) + "\n")
    return 0


def _measured(settings: Settings, sizes: Sequence[int]) -> list[Taken]:
    settings.home.mkdir()
    database = Database(settings.database)
    try:
        migrate(database)
        with api_process(settings) as url:
            return [measure(database, settings, url, size) for size in sizes]
    finally:
        database.dispose()
