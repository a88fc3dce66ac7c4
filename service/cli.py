"""The command line: `reprise up`, `demo`, `verify`, `models`, `worker`, `token`, `bench`, …"""

import os
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from checkpoints.commands import app as models_app
from checkpoints.errors import CheckpointError
from service.auth.bearer import Role
from service.consent.commands import app as keys_app
from service.consent.commands import sign
from service.errors import Problem
from service.settings import get_settings
from service.transparency.commands import app as log_app

app = typer.Typer(
    name="reprise",
    help="Artist-controlled remixes: consent-gated, stem-conditioned, signed.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(models_app, name="models", help="The models: what is known, bundled and pulled.")
app.add_typer(keys_app, name="keys", help="A party's own key: made, proved, replaced.")
app.add_typer(log_app, name="log", help="The public log: its keys, and its monitor.")
bench_app = typer.Typer(no_args_is_help=True)
app.add_typer(bench_app, name="bench", help="Measure the bundled models, and the service.")

err = Console(stderr=True, highlight=False)
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.command()
def demo(
    track: Annotated[
        Path | None, typer.Option(help="A WAV, FLAC, MP3, Ogg or M4A file; default: our song.")
    ] = None,
    part: Annotated[str, typer.Option(help="The stem to regenerate: drums or bass.")] = "drums",
    style: Annotated[str | None, typer.Option(help="A style that the model offers.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the random choices.")] = None,
    density: Annotated[str | None, typer.Option(help="sparse, normal or busy.")] = None,
    fills: Annotated[str | None, typer.Option(help="1: with fills, 0: without.")] = None,
    swing: Annotated[str | None, typer.Option(help="1: swung, 0: straight.")] = None,
    redo: Annotated[
        str | None, typer.Option(help="Only these seconds of the part anew: 8-16,24-30.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port of the page; default: 8000 or next.")
    ] = None,
    serve: Annotated[bool, typer.Option(help="Stay up and serve the page afterwards.")] = True,
    folder: Annotated[Path, typer.Option(help="Where the remix is written.")] = Path("demo"),
) -> None:
    """Play one remix from end to end, the real way, over HTTP."""
    from service.demo import DemoRequest, play

    request = DemoRequest(
        track=track,
        part=part,
        style=style,
        seed=seed,
        density=density,
        fills=fills,
        swing=swing,
        redo=redo,
        folder=folder,
    )
    raise typer.Exit(play(get_settings(), request, port=port, serve=serve))


@app.command()
def up(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="Port; default: 8000 or the next free.")] = None,
) -> None:
    """Serve the API, the page and one worker with the embedded parts, until Ctrl-C."""
    from service.embedded.command import serve_until_interrupted

    raise typer.Exit(serve_until_interrupted(get_settings(), host=host, port=port))


@app.command()
def api(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    fd: Annotated[int | None, typer.Option(help="An inherited listening socket.")] = None,
) -> None:
    """Serve the API and the page alone (one process; broker and database from the settings)."""
    import uvicorn

    from service.app import create_app

    config = uvicorn.Config(
        create_app(get_settings()),
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    sockets = None if fd is None else [socket.socket(fileno=fd)]
    uvicorn.Server(config).run(sockets=sockets)


@app.command()
def relay() -> None:
    """Release accepted jobs to the workers, and rescue those whose worker died."""
    import signal
    import threading

    from service.database import Database
    from service.excerpts import sweeping as excerpts
    from service.jobs.relay import run_relay
    from service.logs import configure_logs
    from service.previews.sweeping import sweep
    from service.queue import CeleryBell, celery_app
    from service.recognition.index import index_recordings
    from service.storage import ObjectStore
    from service.takedown.carrying import carry_on
    from service.transparency.log_keys import LogKeys
    from service.transparency.sequencer import keep_sequencing

    configure_logs()
    settings = get_settings()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    bell = CeleryBell(celery_app(settings))
    database, objects = Database(settings.database), ObjectStore(settings.objects)
    log_keys = LogKeys(settings)
    chores = [
        lambda: sweep(database, objects),
        lambda: excerpts.sweep(database, objects),
        lambda: keep_sequencing(database, log_keys),
        lambda: index_recordings(database),
        lambda: carry_on(database),
    ]
    run_relay(database, settings, bell, stop, chores=chores)


@app.command()
def worker(
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Jobs in hand at once; else REPRISE_WORKER_JOBS.")
    ] = None,
) -> None:
    """Work on jobs: one process per GPU, or one for the CPU."""
    from service.settings import get_settings

    at_once = concurrency or get_settings().worker_jobs
    command = [sys.executable, "-m", "workers", "--concurrency", str(at_once)]
    os.execv(sys.executable, command)  # noqa: S606 - no shell is wanted


@app.command(context_settings=PASS_ON)
def adapter(context: typer.Context) -> None:
    """Train an artist's own adapter under training grants; list adapters; delete withdrawn ones."""
    command = [sys.executable, "-m", "workers.adapters", *context.args]
    raise typer.Exit(subprocess.run(command, check=False).returncode)


@app.command()
def migrate() -> None:
    """Bring the database to this version's tables (SQLite or PostgreSQL)."""
    from service.database import Database
    from service.migrations import migrate as run

    run(Database(get_settings().database))


@app.command()
def token(
    role: Annotated[Role, typer.Argument(help="What the holder may do.")],
    subject: Annotated[str, typer.Argument(help="Who the token speaks for.")],
    territory: Annotated[str | None, typer.Option(help="ISO 3166-1 alpha-2 code.")] = None,
    hours: Annotated[float, typer.Option(help="How long it is valid.")] = 12.0,
    app: Annotated[
        str | None, typer.Option(help="The app it is for, which pays; default: the issuer's own.")
    ] = None,
) -> None:
    """Mint a development bearer token (production takes an OIDC issuer's)."""
    from service.auth import ServiceKeys, mint_token

    settings = get_settings()
    keys = ServiceKeys.load(settings)
    minted = mint_token(
        keys, settings, role, subject, territory=territory, ttl=timedelta(hours=hours), app=app
    )
    sys.stdout.write(minted + "\n")


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="A WAV, FLAC, MP3 or M4A file.")],
    json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
    log: Annotated[
        bool, typer.Option("--log", help="Ask for a proof of the public log, offline.")
    ] = False,
    proof: Annotated[
        Path | None, typer.Option(help="The proof; default: FILE.tlog-proof beside the file.")
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(help="A checkpoint you have, or a log's address: the proof must fit it."),
    ] = None,
    log_key: Annotated[
        list[str] | None, typer.Option(help="The log's verifier key, from elsewhere.")
    ] = None,
) -> None:
    """Judge a file's credential; ends with 0 only when it is trusted (with --log: and logged)."""
    from service.provenance.command import verify_command
    from service.provenance.logged import LogQuestion

    asked = log or proof is not None or checkpoint is not None
    question = LogQuestion(proof, checkpoint, log_key or ()) if asked else None
    raise typer.Exit(verify_command(file, as_json=json, log=question))


@app.command("verify-grant")
def verify_grant(
    file: Annotated[Path, typer.Argument(help="A grant from `GET /v1/grants/{id}/export`.")],
    keys: Annotated[
        Path | None,
        typer.Option(help="The parties' public keys (JWK Set), from elsewhere: only they count."),
    ] = None,
    service_keys: Annotated[
        Path | None,
        typer.Option(help="The service's sealing keys (JWK Set), from elsewhere."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Check an exported grant without the service; ends with 0 only when nothing fails."""
    from service.consent.export.command import verify_grant_command

    raise typer.Exit(verify_grant_command(file, keys=keys, service_keys=service_keys, as_json=json))


@app.command()
def audit(
    json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
    head: Annotated[
        str | None, typer.Option(help="NUMBER:SHA256 that an earlier audit printed.")
    ] = None,
) -> None:
    """Compute the whole ledger again; ends with 0 only when nothing differs."""
    from service.royalties.command import audit_command

    raise typer.Exit(audit_command(as_json=json, kept_head=head))


@app.command()
def settle(period: Annotated[str, typer.Argument(help="A month that ended: 2026-11.")]) -> None:
    """Post what the plays of an ended month earned; safe to repeat."""
    from service.royalties.command import settle_command

    raise typer.Exit(settle_command(period))


app.command()(sign)


def _bench(name: str, arguments: list[str]) -> None:
    command = [sys.executable, "-m", "workers.benchmarks", name, *arguments]
    raise typer.Exit(subprocess.run(command, check=False).returncode)


@bench_app.command("quality", context_settings=PASS_ON)
def bench_quality(context: typer.Context) -> None:
    """Print the quality table of the bundled models beside their controls."""
    _bench("quality", context.args)


@bench_app.command("listen", context_settings=PASS_ON)
def bench_listen(context: typer.Context) -> None:
    """Write a page to listen to the bundled models, with pictures and faults by figures."""
    _bench("listen", context.args)


@bench_app.command("engine", context_settings=PASS_ON)
def bench_engine(context: typer.Context) -> None:
    """Print frames a second of the engine beside transformers' and audiocraft's own generate."""
    _bench("engine", context.args)


@bench_app.command("revocation")
def bench_revocation(
    runs: Annotated[int, typer.Option(min=0, help="Generations to revoke in the middle.")] = 20,
    races: Annotated[int, typer.Option(min=0, help="Races on each database.")] = 1000,
    postgres: Annotated[
        str | None, typer.Option(help="An EMPTY PostgreSQL database to race on (SQLAlchemy URL).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the pauses.")] = 1,
    json: Annotated[
        Path | None, typer.Option("--json", help="Where the figures are written.")
    ] = None,
) -> None:
    """Measure how soon a revocation stops a generation, and race it against publications."""
    import logging

    from service.bench.command import revocation_command
    from service.logs import configure_logs

    configure_logs()
    # One line for each job would bury the table.
    logging.getLogger().setLevel(logging.WARNING)
    raise typer.Exit(
        revocation_command(
            runs=runs, races=races, models=None, postgres=postgres, seed=seed, file=json
        )
    )


@bench_app.command("log")
def bench_log(
    entries: Annotated[int, typer.Option(min=1, help="Entries to fill it with.")] = 1_000_000,
    times: Annotated[int, typer.Option(min=1, help="How often each thing is done.")] = 200,
    postgres: Annotated[
        str | None, typer.Option(help="An EMPTY PostgreSQL database to measure on.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of what is asked for.")] = 1,
    json: Annotated[
        Path | None, typer.Option("--json", help="Where the figures are written.")
    ] = None,
) -> None:
    """Measure what an entry, a signature and a proof cost in a large public log."""
    from service.bench.large import log_command

    raise typer.Exit(
        log_command(entries=entries, times=times, postgres=postgres, seed=seed, file=json)
    )


@bench_app.command("ledger")
def bench_ledger(
    postings: Annotated[int, typer.Option(min=2, help="In the ledger, once it is full.")] = 20_000,
    postgres: Annotated[
        str | None, typer.Option(help="An EMPTY PostgreSQL database to use (SQLAlchemy URL).")
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="Where the figures are written.")
    ] = None,
) -> None:
    """Measure how fast remixes are posted, plays settled, and the ledger audited."""
    from service.bench.ledger_command import ledger_command

    raise typer.Exit(ledger_command(postings=postings, postgres=postgres, file=json))


@bench_app.command("takedown")
def bench_takedown(
    remixes: Annotated[
        list[int] | None, typer.Option(min=1, help="Published under the grant; may be repeated.")
    ] = None,
    postgres: Annotated[
        str | None, typer.Option(help="An EMPTY PostgreSQL database to use (SQLAlchemy URL).")
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="Where the figures are written.")
    ] = None,
) -> None:
    """Measure how long it takes to take back a hit, and how long others wait for it."""
    import logging

    from service.bench.taking_command import takedown_command
    from service.logs import configure_logs

    configure_logs()
    logging.getLogger().setLevel(logging.WARNING)
    sizes = remixes or [1, 100, 2000]
    raise typer.Exit(takedown_command(sizes=sizes, postgres=postgres, file=json))


@bench_app.command("fingerprint")
def bench_fingerprint(
    recordings: Annotated[int, typer.Option(min=1, help="Recordings to search.")] = 100_000,
    seconds: Annotated[float, typer.Option(min=15, help="The length of each.")] = 180.0,
    times: Annotated[int, typer.Option(min=1, help="Copies that are asked for.")] = 100,
    postgres: Annotated[
        str | None, typer.Option(help="An EMPTY PostgreSQL database to measure on.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of what is asked for.")] = 1,
    json: Annotated[
        Path | None, typer.Option("--json", help="Where the figures are written.")
    ] = None,
) -> None:
    """Measure how soon a sound is found among many recordings, and how often wrongly."""
    from service.bench.large import fingerprint_command

    raise typer.Exit(
        fingerprint_command(
            recordings=recordings,
            seconds=seconds,
            lengths=(5.0, 15.0, seconds),
            times=times,
            postgres=postgres,
            seed=seed,
            file=json,
        )
    )


@bench_app.command("jobs")
def bench_jobs(
    jobs: Annotated[int, typer.Option(min=1, help="Asked for at once.")] = 50,
    seconds: Annotated[float, typer.Option(min=3.0, help="Of the song.")] = 20.0,
    compare: Annotated[
        bool, typer.Option(help="Measure the same worker with batching switched off too.")
    ] = True,
    json: Annotated[
        Path | None, typer.Option("--json", help="Where the figures are written.")
    ] = None,
) -> None:
    """Measure whole jobs of the real service: how many a minute, and how long each waits."""
    from service.bench.jobs_command import jobs_command

    raise typer.Exit(
        jobs_command(jobs=jobs, seconds=seconds, compare=compare, models=None, file=json)
    )


@bench_app.command("curve", context_settings=PASS_ON)
def bench_curve(context: typer.Context) -> None:
    """Print what training logs say: the loss by step and by hours of CPU."""
    _bench("curve", context.args)


@bench_app.command("watermark", context_settings=PASS_ON)
def bench_watermark(context: typer.Context) -> None:
    """Print how often the watermark is found again after each attack, and how quiet it is."""
    _bench("watermark", context.args)


@bench_app.command("separation", context_settings=PASS_ON)
def bench_separation(context: typer.Context) -> None:
    """Print how fast a song is separated beside demucs itself, and in how much memory."""
    _bench("separation", context.args)


def main() -> None:
    """Run the command line; a problem ends it with its own words and status 1."""
    try:
        app()
    except (Problem, CheckpointError) as problem:
        err.print(f"[bold red]{escape(problem.title)}.[/] {escape(problem.detail)}")
        raise SystemExit(1) from problem


if __name__ == "__main__":
    main()
