"""Whether a file's credential is in the public log, by the proof that lies beside the file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.auth.keys import ServiceKeyUnusable
from service.provenance.recording import assertion_sha256
from service.settings import Settings
from service.storage import file_sha256
from service.transparency.log_keys import LogKeys
from service.transparency.merkle import consistent
from service.transparency.notes import Checkpoint, NoteInvalid, Verifier, open_checkpoint
from service.transparency.proof import (
    LONGEST_PROOF,
    SUFFIX,
    ProofInvalid,
    Proved,
    check_proof,
)
from service.transparency.remote import LogUnreachable, RemoteSource

_CLOSED = ("grant-revoked", "grant-superseded", "grant-suspended")


@dataclass(frozen=True, slots=True)
class LogQuestion:
    """How to ask: the proof (default: beside the file), what it is held to, and whose log counts.

    `against` is a checkpoint's file or a log's address; `keys` are verifier keys.
    """

    proof: Path | None = None
    against: str | None = None
    keys: Sequence[str] = ()


@dataclass(slots=True)
class Logged:
    """The answer: whether the log holds this credential, and in words why or why not."""

    logged: bool = False
    index: int | None = None
    size: int | None = None
    said: list[str] = field(default_factory=list)


def check_logged(
    settings: Settings,
    file: Path,
    manifest_id: str | None,
    consent: Mapping[str, Any] | None,
    question: LogQuestion,
) -> Logged:
    """Check the proof beside a file whose credential was read already; needs no network.

    (Only an address in `against` is asked.) `consent` is the credential's assertion, if the file
    is trusted; a file that is not is never said to be logged.
    """
    answer = Logged()
    try:
        verifiers = _verifiers(settings, question.keys)
        proved = check_proof(_read(question.proof or _beside(file), LONGEST_PROOF), verifiers)
        _compare(answer, proved, file, manifest_id, consent)
        answer.index, answer.size = proved.index, proved.checkpoint.size
        if question.against is not None:
            _hold_to(answer, proved, question.against, verifiers)
    except (OSError, ValueError, ServiceKeyUnusable, LogUnreachable) as error:
        told = error.detail if isinstance(error, LogUnreachable) else str(error)
        answer.said.append(told)
        return answer
    answer.logged = True
    answer.said.insert(
        0,
        f"entry {proved.index} of the {proved.checkpoint.size} that {proved.checkpoint.origin} "
        "has signed",
    )
    return answer


def _verifiers(settings: Settings, keys: Sequence[str]) -> list[Verifier]:
    if keys:
        return [Verifier.parse(key) for key in keys]
    if settings.log_keys is None and not (settings.home / "keys" / "log.jwks").exists():
        raise ValueError("name the log's verifier key with --log-key: else a proof is a claim")
    return LogKeys(settings).verifiers


def _compare(
    answer: Logged,
    proved: Proved,
    file: Path,
    manifest_id: str | None,
    consent: Mapping[str, Any] | None,
) -> None:
    record = proved.record
    if record.get("type") != "credential-issued":
        raise ProofInvalid("the proof is of something else than a credential")
    if consent is None:
        raise ProofInvalid("the file's credential is not trusted: no proof can speak for it")
    if record.get("manifest_id") != manifest_id:
        raise ProofInvalid("the proof is of another file's credential")
    if record.get("consent_sha256") != assertion_sha256(consent):
        raise ProofInvalid("the credential names another consent than the one that was logged")
    if record.get("file_sha256") != file_sha256(file):
        answer.said.append("some bytes differ from the stored file's; the credential holds")


def _hold_to(answer: Logged, proved: Proved, against: str, verifiers: Sequence[Verifier]) -> None:
    """Raise unless the checkpoint of the proof and the one seen elsewhere are of one history."""
    inside = proved.checkpoint
    if not against.startswith(("http://", "https://")):
        other = open_checkpoint(_read(Path(against), LONGEST_PROOF), verifiers)
        if other.size != inside.size:
            raise NoteInvalid(
                f"the checkpoint has {other.size} entries, the proof's {inside.size}: name the "
                "log's address, which proves that the one grew into the other"
            )
        _require_one(inside, other, [])
        answer.said.append("the checkpoint seen elsewhere is the same")
        return
    source = RemoteSource(against)
    other = open_checkpoint(source.checkpoint(), verifiers)
    first, second = sorted((inside, other), key=lambda each: each.size)
    _require_one(first, second, source.consistency(first.size, second.size))
    answer.said.append(f"the log at {against} goes on from there, with {other.size} entries")
    grant = proved.record.get("grant")
    if isinstance(grant, str):
        events = source.events_about(grant)
        if events and events[-1] in _CLOSED:
            answer.said.append(f"since then the log tells of the consent: {events[-1]}")


def _require_one(first: Checkpoint, second: Checkpoint, path: Sequence[bytes]) -> None:
    if not consistent(first.size, second.size, first.root, second.root, path):
        raise ProofInvalid("a fork: the log has signed two histories; keep both checkpoints")


def _beside(file: Path) -> Path:
    return file.with_name(file.name + SUFFIX)


def _read(path: Path, most: int) -> str:
    with path.open("rb") as source:
        found = source.read(most + 1)
    if len(found) > most:
        raise ProofInvalid(f"{path} is too long for a proof")
    return found.decode()
