"""The body of `reprise bench ledger`: a table of how fast the ledger is, on both databases."""

import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from service.bench.ledger import Pace, measure
from service.bench.servers import postgres as server
from service.database import Database
from service.migrations import migrate
from service.settings import Settings

WORDS = {
    "post": "remixes posted, each in its own transaction",
    "settle": "plays settled",
    "audit": "postings audited",
}


def ledger_command(*, postings: int, postgres: str | None, file: Path | None) -> int:
    """Measure on SQLite and PostgreSQL, print the table, and write the figures to `file`."""
    console = Console(highlight=False, soft_wrap=True)
    folder = Path(tempfile.mkdtemp(prefix="reprise-bench-"))
    found: dict[str, dict[str, Pace]] = {}
    try:
        found["sqlite"] = _measured(Settings(home=folder / "sqlite"), postings)
        with server(postgres) as url:
            if url is None:
                console.print("PostgreSQL: not measured (name an empty database with --postgres)")
            else:
                settings = Settings(home=folder / "postgresql", database_url=url)
                found["postgresql"] = _measured(settings, postings)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    table = Table(title=f"A ledger of {postings:,} postings: so many a second")
    table.add_column("")
    for name in found:
        table.add_column(name, justify="right")
    for key, words in WORDS.items():
        table.add_row(words, *(_cell(paces[key]) for paces in found.values()))
    console.print(table)
    if file is not None:
        figures = {
            name: {key: asdict(pace) for key, pace in p.items()} for name, p in found.items()
        }
        file.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


def _measured(settings: Settings, postings: int) -> dict[str, Pace]:
    settings.home.mkdir()
    database = Database(settings.database)
    try:
        migrate(database)
        return measure(database, settings, postings)
    finally:
        database.dispose()


def _cell(pace: Pace) -> str:
    return f"{pace.per_second:,.0f} ({pace.seconds:.1f} s, processor {pace.cpu_seconds:.1f} s)"
