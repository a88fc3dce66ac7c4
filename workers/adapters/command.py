"""Command line: train an adapter, list adapters, delete what has lost its consent.

reprise adapter train ada-drums --steps 200 --seed 1
"""

import argparse
import logging
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from checkpoints.errors import CheckpointError
from service.consent.models import Adapter
from service.database import Database
from service.errors import Problem
from service.settings import get_settings
from workers.withdrawal import sweep_adapters

_out = Console()
_err = Console(stderr=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the commands; a refusal ends it with its own words and status 1."""
    parser = argparse.ArgumentParser(prog="reprise adapter", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _train_options(commands.add_parser("train", help="train what training grants allow"))
    commands.add_parser("list", help="which adapters were trained, and whether they may play")
    commands.add_parser("sweep", help="delete adapters and runs whose consent has ended")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        {"train": _train, "list": _list, "sweep": _sweep}[options.command](options)
    except (Problem, CheckpointError) as problem:
        _err.print(f"[bold red]{problem.title}[/] ({problem.slug})", highlight=False)
        _err.print(problem.detail, highlight=False, markup=False)
        return 1
    except DBAPIError as error:
        _err.print("[bold red]The database does not answer as it must[/]", highlight=False)
        _err.print(str(error.orig), highlight=False, markup=False)
        _err.print("Run `reprise migrate`, or correct REPRISE_DATABASE_URL or REPRISE_HOME.")
        return 1
    return 0


def _train_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="the adapter that the grants name")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=int, default=4, help="windows a step")
    parser.add_argument("--peak", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--alpha", type=int, default=16)
    parser.add_argument(
        "--preserve", type=float, default=0.5, help="how firmly other styles are kept as they were"
    )
    parser.add_argument("--restart", action="store_true", help="forget a run that has not ended")
    parser.add_argument("--stop-after", type=int, help="stop with the state saved at this step")


def _train(options: argparse.Namespace) -> None:
    # Imported here: the other commands need no torch.
    from workers.adapters.learning import Recipe
    from workers.adapters.training import train_adapter
    from workers.workplace import Workplace

    chosen = vars(options)
    recipe = Recipe(**{name: chosen[name] for name in Recipe.__dataclass_fields__})
    place = Workplace.of(get_settings())
    card = train_adapter(
        place, options.name, recipe, restart=options.restart, stop_after=options.stop_after
    )
    if card is None:
        _out.print(f"{options.name} has stopped; the same command goes on.")
        return
    _out.print(f"{card.name} may play ({card.digest[:12]}…): its card is {card.path}")


def _list(_options: argparse.Namespace) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("name", "state", "digest", "training grants", "why"):
        table.add_column(heading, overflow="fold")
    with Database(get_settings().database).snapshot() as session:
        for adapter in session.scalars(select(Adapter).order_by(Adapter.created_at)):
            grants = ", ".join(kept.grant_id for kept in adapter.grants)
            table.add_row(
                adapter.name, adapter.state, adapter.digest[:12], grants, adapter.reason or ""
            )
    _out.print(table)


def _sweep(_options: argparse.Namespace) -> None:
    settings = get_settings()
    for line in sweep_adapters(Database(settings.database), settings) or ["nothing to delete"]:
        sys.stdout.write(line + "\n")
