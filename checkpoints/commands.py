"""`reprise models`: which models exist, what they may be used for, and fetching public ones."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from checkpoints import registry
from checkpoints.card import Card
from checkpoints.errors import CheckpointError
from checkpoints.measured import COLUMNS
from checkpoints.pulling import pull as fetch

app = typer.Typer(
    help="Models: what exists, what it may be used for, and fetching public ones.",
    no_args_is_help=False,
)
_out = Console()
_err = Console(stderr=True)


@app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """List the models: name, role, licence, commercial use, state and size."""
    if context.invoked_subcommand is not None:
        return
    with _refusals():
        _out.print(_table(registry.cards()))


@app.command()
def show(name: Annotated[str, typer.Argument(help="A model's name.")]) -> None:
    """Show one model's card: training, intended use, limits, hashes, what was measured."""
    with _refusals():
        card = registry.card(name)
        table = Table(show_header=False, box=None, pad_edge=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column()
        for label, value in (
            ("name", card.name),
            ("title", card.title),
            ("role", card.role),
            ("licence", card.licence),
            ("commercial use", _yes(card.commercial_use)),
            ("state", registry.state(card)),
            ("training data", card.training_data),
            ("training", card.training or ""),
            ("intended use", card.intended_use),
            ("limits", card.limits),
            ("makes", ", ".join((*card.sources, *card.parts))),
            ("styles", ", ".join(card.styles)),
            ("controls", ", ".join(card.controls)),
            ("requires", ", ".join(card.requires)),
            ("base", card.base or ""),
            ("training grants", ", ".join(f"{g.id} ({g.sha256[:12]}…)" for g in card.grants)),
            ("withdrawn", card.withdrawn or ""),
            ("homepage", card.homepage or ""),
        ):
            if value:
                table.add_row(label, value)
        for file_name, spec in card.files.items():
            table.add_row(file_name, f"sha256 {spec.sha256 or 'not pinned'}")
        _out.print(table)
        if card.measured:
            _out.print(_figures(card))


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="A model's name, for example htdemucs.")],
    non_commercial: Annotated[
        bool,
        typer.Option(
            "--non-commercial",
            help="My use is not commercial (for weights whose licence asks for that).",
        ),
    ] = False,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="A folder that holds the files already.", file_okay=False),
    ] = None,
) -> None:
    """Fetch a public model to the cache and check its hash; goes on where it stopped."""
    with (
        _refusals(),
        Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=_err,
            transient=True,
        ) as bars,
    ):
        tasks: dict[str, int] = {}

        def show_progress(file_name: str, done: int, total: int | None) -> None:
            if file_name not in tasks:
                tasks[file_name] = bars.add_task(file_name, total=total)
            bars.update(bars.task_ids[tasks[file_name]], completed=done)

        opened = fetch(name, non_commercial=non_commercial, source=source, progress=show_progress)
    _out.print(f"{opened.card.name} is here and verified ({opened.card.digest[:12]}…).")
    _out.print(f"Licence: {opened.card.licence}. Limits: {opened.card.limits}")


class _refusals:  # noqa: N801
    """Ends the command with the registry's refusal: why, and what to do."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, CheckpointError):
            _err.print(f"[bold red]{error.title}[/] ({error.slug})", highlight=False)
            _err.print(error.detail, highlight=False, markup=False)
            raise typer.Exit(1) from error


def _figures(card: Card) -> Table:
    """What was measured: means, the bar, and whether it is met."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = [c for c in COLUMNS if any(c in row.columns for row in card.measured)]
    for heading in ("measured", *columns, "pieces", "bar"):
        table.add_column(heading)
    for row in card.measured:
        means = [f"{row.columns[c][0]:.2f}" if c in row.columns else "" for c in columns]
        met = {True: " met", False: " NOT MET", None: ""}[row.met]
        table.add_row(row.measure, *means, str(row.pieces), f"{row.bar or ''}{met}")
    return table


def _table(cards: tuple[Card, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("name", "role", "licence", "commercial use", "state"):
        table.add_column(heading, no_wrap=heading == "name", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    for card in cards:
        table.add_row(
            card.name,
            card.role,
            card.licence,
            _yes(card.commercial_use),
            registry.state(card),
            _size(card.bytes),
        )
    return table


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _size(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 1e6:.1f} MB"
