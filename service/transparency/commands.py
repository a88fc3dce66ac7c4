"""`reprise log`: the log's verifier keys, and the monitor."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from service.errors import InvalidRequest
from service.settings import Settings, get_settings
from service.transparency.monitor import CHECKS, Report, watch, watch_database
from service.transparency.notes import NoteInvalid, Verifier
from service.transparency.remote import RemoteSource

app = typer.Typer(no_args_is_help=True)
IN_ORDER, DIFFERS = 0, 1
MOST_KEPT = 1000
"""Checkpoints that a file of seen ones keeps: the first, and the newest."""


@app.command("key")
def key() -> None:
    """Print the log's verifier keys, for whoever wants to check what it says."""
    from service.transparency.log_keys import LogKeys

    for verifier in LogKeys(get_settings()).verifiers:
        typer.echo(str(verifier))


@app.command("audit")
def audit(
    url: Annotated[
        str | None,
        typer.Option(help="A log's address, …/v1/log; default: this service's database."),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            help="The log's verifier key (name+id+key), from elsewhere; retired ones as well."
        ),
    ] = None,
    seen: Annotated[
        Path | None,
        typer.Option(help="A file of the checkpoints you have seen; grown when all is in order."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Compute the public log again; ends with 0 only when it is what it always said it was."""
    report = audited(get_settings(), url=url, keys=key or [], seen=seen)
    console = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)
    if as_json:
        console.print(json.dumps(_document(report), indent=2))
    else:
        _print(console, report)
    raise typer.Exit(DIFFERS if report.findings else IN_ORDER)


def audited(settings: Settings, *, url: str | None, keys: list[str], seen: Path | None) -> Report:
    """Watch a log, and keep its checkpoint in `seen` if nothing differs.

    Raises `InvalidRequest` for a key or file that is none, and as the source does.
    """
    from service.database import Database
    from service.transparency.log_keys import LogKeys

    try:
        verifiers = [Verifier.parse(text) for text in keys]
        notes = _read(seen)
    except (NoteInvalid, ValueError, OSError) as error:
        raise InvalidRequest(str(error)) from error
    if url is not None:
        if not verifiers:
            raise InvalidRequest(
                "name the log's verifier key with --key: whoever forged the log "
                "would forge the key that it shows too"
            )
        report = watch(RemoteSource(url), verifiers, notes)
    else:
        database = Database(settings.database)
        try:
            report = watch_database(database, verifiers or LogKeys(settings).verifiers, notes)
        finally:
            database.dispose()
    if seen is not None and not report.findings:
        _keep(seen, notes, report.note)
    return report


def _read(seen: Path | None) -> list[str]:
    if seen is None or not seen.exists():
        return []
    kept = json.loads(seen.read_text())
    notes = kept.get("checkpoints") if isinstance(kept, dict) else None
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        raise ValueError(f"{seen} is no file of checkpoints")
    return notes


def _keep(seen: Path, notes: list[str], note: str) -> None:
    kept = notes if note in notes else [*notes, note]
    kept = kept if len(kept) <= MOST_KEPT else [kept[0], *kept[1 - MOST_KEPT :]]
    # A crash while writing must not lose what was seen.
    beside = seen.with_name(f".{seen.name}.new")
    beside.write_text(json.dumps({"checkpoints": kept}, indent=1, ensure_ascii=False) + "\n")
    beside.replace(seen)


def _document(report: Report) -> dict[str, object]:
    return {
        "in_order": not report.findings,
        "size": report.size,
        "root": report.root.hex(),
        "checkpoint": report.note,
        "seen_before": report.seen,
        "findings": [{"check": each.check, "detail": each.detail} for each in report.findings],
    }


def _print(console: Console, report: Report) -> None:
    for name, meaning in CHECKS.items():
        failed = [each.detail for each in report.findings if each.check == name]
        console.print(f"{name}: {meaning}: {'; '.join(failed) if failed else 'holds'}")
    console.print(f"{report.size} entries, root {report.root.hex()}")
    console.print(f"compared with {report.seen} checkpoints seen before")
    console.print("the log differs" if report.findings else "the log is in order")
