"""The body of `reprise verify FILE [--json]`."""

import json
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from service.database import Database
from service.errors import Problem
from service.logs import configure_logs
from service.provenance import labels
from service.provenance.finders import CannotSearch, Finder
from service.provenance.finders.every import finders_of
from service.provenance.logged import Logged, LogQuestion, check_logged
from service.provenance.manifest_store import ManifestStore
from service.provenance.schemas import AnswerWord, Consent, Found, Made, Recovered, Verdict
from service.provenance.standing import consent_standing, unknown_standing
from service.provenance.trust import load_trust
from service.provenance.verdict import verify_file
from service.settings import Settings, get_settings

VERIFIED: Final = 0
NOT_VERIFIED: Final = 1
UNREADABLE: Final = 2
_NOT_HERE: Final = "the service's database cannot be asked from here"

_WORDS: Final[dict[AnswerWord, str]] = {
    "verified": "verified",
    "altered": "altered",
    "recovered": "recovered by its watermark",
    "similar": "similar to",
    "nothing-known": "nothing known",
}


def verify_command(
    file: Path,
    *,
    as_json: bool = False,
    settings: Settings | None = None,
    log: LogQuestion | None = None,
) -> int:
    """Print the verdict on a file; returns the exit status.

    0: trusted, and where `log` asks for it in the public log; 1: valid, invalid or absent, or
    not proved to be in the log; 2: it could not be read.
    """
    settings = settings or get_settings()
    # Logs go to stderr: what is printed here is the answer, and may be JSON.
    configure_logs()
    # Neither markup nor wrapping: the text is a stranger's, and JSON must stay JSON.
    console = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)
    consents: list[Mapping[str, Any] | None] = [None]

    try:
        with _catalogue(settings) as database:

            def standing(store: ManifestStore) -> Consent | None:
                consents.append(store.claimed(labels.CONSENT))
                return _standing(database, store)

            finders = [_Asked(each) for each in finders_of(settings, database)] if database else []
            verdict = verify_file(file, load_trust(settings), standing, finders)
        if database is None and verdict.answer != "verified":
            verdict.unsearched.append(f"watermark and sound: {_NOT_HERE}")
    except (Problem, OSError) as error:
        problem = error.document() if isinstance(error, Problem) else _file_problem(error)
        if as_json:
            console.print(json.dumps(problem))
        else:
            console.print(f"{problem['title']}: {problem['detail']}")
        return UNREADABLE
    logged = None
    if log is not None:
        logged = check_logged(settings, file, verdict.manifest_id, consents[-1], log)
    if as_json:
        document = verdict.model_dump(mode="json")
        if logged is not None:
            document["log"] = asdict(logged)
        # ASCII, so that control characters arrive escaped.
        console.print(json.dumps(document, indent=2))
    else:
        for line in [*_lines(verdict), *_log_lines(logged)]:
            console.print(_printable(line))
    if logged is not None and not logged.logged:
        return NOT_VERIFIED
    return VERIFIED if verdict.answer == "verified" else NOT_VERIFIED


@contextmanager
def _catalogue(settings: Settings) -> Iterator[Database | None]:
    """The service's database where it can be asked; this command makes none."""
    if settings.database_url is None and not (settings.home / "reprise.db").exists():
        yield None
        return
    database = Database(settings.database)
    try:
        yield database
    finally:
        database.dispose()


@dataclass(frozen=True, slots=True)
class _Asked:
    """A finder whose database may be out of reach: the file is judged all the same."""

    finder: Finder

    def find(self, path: Path) -> list[Found]:
        try:
            return self.finder.find(path)
        except SQLAlchemyError as error:
            name = type(self.finder).__name__.removeprefix("By").lower()
            raise CannotSearch(f"{name}: {_NOT_HERE}") from error


def _standing(database: Database | None, store: ManifestStore) -> Consent | None:
    if database is None:
        return unknown_standing(store)
    try:
        with database.snapshot() as session:
            return consent_standing(session, store)
    except SQLAlchemyError:
        return unknown_standing(store)


def _file_problem(error: OSError) -> dict[str, str]:
    return {
        "type": "/problems/verify-unreadable",
        "title": "The file cannot be read",
        "detail": str(error.strerror or error),
    }


def _lines(verdict: Verdict) -> Iterator[str]:
    yield f"{_WORDS[verdict.answer]}: {verdict.summary}"
    yield from (f"  - {reason}" for reason in verdict.reasons)
    for found in verdict.found:
        yield from _found_lines(found)
    yield from (f"Not asked   {reason}" for reason in verdict.unsearched)
    yield from _claim_lines(verdict)
    if verdict.signer is not None:
        yield f"Signed by   {verdict.signer.common_name} ({verdict.signer.issuer})"
    if verdict.manifest_id is not None:
        yield f"Credential  {verdict.manifest_id}"


def _found_lines(found: Found) -> Iterator[str]:
    song = f"{found.song.title} by {found.song.artist}: " if found.song is not None else ""
    yield f"Found       {song}{found.detail} ({found.method}{_rates(found)})"
    credential = found.credential
    if credential is None:
        return
    yield f"Recovered   {credential.manifest_id}, issued {credential.issued_at:%Y-%m-%d}"
    if not credential.delivered:
        yield "            the remix is no longer delivered"
    yield from _claim_lines(credential)


def _rates(found: Found) -> str:
    told = ""
    if found.true_positive_rate is not None:
        told += f", finds {found.true_positive_rate:.1%} of what is there"
        if found.true_positive_low is not None:
            told += f" (at least {found.true_positive_low:.0%})"
    if found.false_positive_rate is not None:
        told += f", at most {found.false_positive_rate:g} falsely"
    return told


def _claim_lines(verdict: Verdict | Recovered) -> Iterator[str]:
    if verdict.title is not None:
        yield f"Title       {verdict.title}"
    if verdict.original is not None:
        isrc = f" (ISRC {verdict.original.isrc})" if verdict.original.isrc else ""
        yield f"Original    {verdict.original.title} by {verdict.original.artist}{isrc}"
    if verdict.made is not None:
        yield f"Made        {verdict.made.statement}"
        yield f"            {', '.join(_chosen(verdict.made))}"
    for credit in verdict.credits:
        yield f"Credit      {credit.name}, {credit.role}{' (AI)' if credit.ai else ''}"
    for checkpoint in verdict.checkpoints:
        use = "commercial use allowed" if checkpoint.commercial_use else "no commercial use"
        yield (
            f"Checkpoint  {checkpoint.name} ({checkpoint.role}), {checkpoint.licence}, {use}, "
            f"{checkpoint.digest[:16]}…"
        )
    if verdict.consent is not None:
        yield (
            f"Consent     {verdict.consent.standing}: {verdict.consent.detail} "
            f"({verdict.consent.grant or 'no grant'}, template {verdict.consent.template})"
        )


def _log_lines(logged: Logged | None) -> Iterator[str]:
    if logged is not None:
        found = "holds it" if logged.logged else "NOT PROVED"
        yield f"Public log  {found}: {'; '.join(logged.said)}"


def _chosen(made: Made) -> Iterator[str]:
    chosen = made.choices
    yield f"style {made.style}"
    if chosen.density is not None:
        yield f"density {chosen.density}"
    if chosen.fills is not None:
        yield "with fills" if chosen.fills else "without fills"
    if chosen.swing is not None:
        yield "swung" if chosen.swing else "straight"
    yield f"seed {made.seed}"


def _printable(text: str) -> str:
    # A title may hold an escape sequence that would steer the reader's terminal.
    return "".join(char if unicodedata.category(char) not in {"Cc", "Cf"} else "�" for char in text)
