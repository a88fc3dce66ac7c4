"""The stamp stage: nothing leaves without a credential that our policy accepts."""

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from service.errors import Problem
from service.permit import Permit, PermitDenied
from service.provenance import policy
from service.provenance.extraction import extract, read_signed
from service.provenance.labels import MEDIA_TYPES
from service.provenance.manifest_store import ManifestStore
from service.provenance.trust import Trust, load_trust
from service.settings import Settings, get_settings
from service.storage import file_sha256
from workers.stamping.encode import encode
from workers.stamping.manifest import expected, original_definition, remix_definition
from workers.stamping.record import AudioFormat, StampRecord, TrackRecord
from workers.stamping.signing import Parent, SigningIdentity, load_identity, sign
from workers.stamping.tags import tags

log = structlog.get_logger(__name__)

_ORIGINAL_TYPE = MEDIA_TYPES["wav"]


class OriginalRefused(Problem):
    """The original at hand is not the track's audio, or its own credential does not hold."""

    status = 500
    slug = "original-refused"
    title = "The original does not prove to be the track"


class PolicyViolation(Problem):
    """The signed file does not satisfy the policy; it is in quarantine and goes nowhere."""

    status = 500
    slug = "quarantined"
    title = "The credential did not pass the policy"


@dataclass(frozen=True, slots=True)
class Stamped:
    """A file that may leave: its path, SHA-256 (hex), media type, and the credential as read back.

    `manifest` is the reader's whole document (active manifest, ingredients, validation results).
    """

    path: Path
    sha256: str
    manifest: dict[str, Any]
    media_type: str


def stamp(
    permit: Permit,
    audio_path: Path,
    record: StampRecord,
    out_dir: Path,
    *,
    original: Path,
    audio_format: AudioFormat = "flac",
    settings: Settings | None = None,
) -> Stamped:
    """Encode the mix, tag it, sign it, and let it out only if the policy accepts what is read back.

    :param permit: of stage `stamp`; `record` must be about the same job, grant and checkpoints.
    :param audio_path: the mix, WAV float32 stereo.
    :param out_dir: receives `<job id>.<format>`, in one step, only after the policy check.
    :param original: the track's stored audio (WAV); it becomes the credential's parent and is
        signed on the way if it carries no credential yet.
    :raises PermitDenied: the record is not about what the permit is for.
    :raises OriginalRefused: `original` is another file, or was changed after it was signed.
    :raises SigningFailed: the signer failed; nothing is left behind.
    :raises PolicyViolation: the file is in `home/quarantine`.
    """
    permit.require("stamp", track_id=record.track.track_id)
    _agree(permit, record)
    settings = settings or get_settings()
    identity = load_identity(settings)
    trust = load_trust(settings)
    out_dir.mkdir(parents=True, exist_ok=True)
    media_type = MEDIA_TYPES[audio_format]
    # Beside its destination, so that the last step is a rename on one file system.
    with tempfile.TemporaryDirectory(prefix=".stamp-", dir=out_dir) as folder:
        work = Path(folder)
        encoded = work / f"encoded.{audio_format}"
        signed = work / f"signed.{audio_format}"
        encode(permit, audio_path, encoded, audio_format, tags(record))
        sign(
            permit,
            encoded,
            signed,
            remix_definition(record, media_type),
            identity=identity,
            trust=trust,
            parent=_parent(permit, original, record, work, identity, trust),
        )
        store = _release(signed, record, trust, settings)
        destination = out_dir / f"{record.job_id}.{audio_format}"
        signed.replace(destination)
    return Stamped(
        path=destination,
        sha256=file_sha256(destination),
        manifest=dict(store.document),
        media_type=media_type,
    )


def stamp_original(
    permit: Permit,
    path: Path,
    track: TrackRecord,
    destination: Path,
    *,
    code_version: str,
    settings: Settings | None = None,
) -> Path:
    """Write the original (WAV) with a credential of its own to `destination`.

    `stamp` does this by itself for an original without a credential; ingestion may do it once.

    :param permit: of stage `ingest` or `stamp`, for this track.
    :raises OriginalRefused: `path` is not the audio that `track.sha256` names.
    """
    settings = settings or get_settings()
    identity = load_identity(settings)
    return _sign_original(
        permit, path, track, destination, code_version, identity, load_trust(settings)
    )


def _agree(permit: Permit, record: StampRecord) -> None:
    pairs = {
        "purpose": (permit.purpose == "preview", record.preview),
        "job": (permit.job_id, record.job_id),
        "grant": (permit.grant_id, record.grant_id),
        "grant's generation": (permit.generation, record.grant_generation),
        "job token": (permit.token_id, record.token_id),
    }
    for name, (permitted, recorded) in pairs.items():
        if permitted != recorded:
            raise PermitDenied(f"the record names another {name} than the permit")
    for checkpoint in record.checkpoints:
        if permit.checkpoints.get(checkpoint.name) != checkpoint.digest:
            raise PermitDenied(f"the permit does not cover the checkpoint {checkpoint.name}")


def _parent(
    permit: Permit,
    original: Path,
    record: StampRecord,
    work: Path,
    identity: SigningIdentity,
    trust: Trust,
) -> Parent:
    """The original with a credential that holds, checked before anything is signed upon it."""
    answer = extract(original, trust.sdk_settings_json())
    if answer["outcome"] == "absent":
        path = _sign_original(
            permit,
            original,
            record.track,
            work / "original.wav",
            record.code_version,
            identity,
            trust,
        )
        return Parent(path, _ORIGINAL_TYPE, record.track.title)
    if answer["outcome"] != "read":
        raise OriginalRefused(f"the original cannot be read: {answer['outcome']}")
    store = ManifestStore(answer["store"])
    failures = [str(failure) for failure in (*store.failures(), *store.ingredient_failures())]
    if store.state != "Trusted" or failures:
        raise OriginalRefused(
            f"the original's own credential is {store.state}, not Trusted. " + "; ".join(failures)
        )
    return Parent(original, _ORIGINAL_TYPE, record.track.title)


def _sign_original(
    permit: Permit,
    path: Path,
    track: TrackRecord,
    destination: Path,
    code_version: str,
    identity: SigningIdentity,
    trust: Trust,
) -> Path:
    permit.require("stamp", "ingest", track_id=track.track_id)
    if file_sha256(path) != track.sha256:
        raise OriginalRefused("the file is not the audio that the catalogue names for this track")
    definition = original_definition(track, _ORIGINAL_TYPE, code_version)
    sign(permit, path, destination, definition, identity=identity, trust=trust)
    return destination


def _release(signed: Path, record: StampRecord, trust: Trust, settings: Settings) -> ManifestStore:
    """The credential of a signed file, if the policy accepts it; else the file is put away."""
    try:
        store = read_signed(signed, trust.sdk_settings_json())
        violations = policy.check(store, expected(record))
    except ValueError as error:
        store, violations = ManifestStore({}), [f"the credential cannot be read back: {error}"]
    if not violations:
        return store
    kept = _quarantine(signed, record, violations, store, settings.home / "quarantine")
    log.error("quarantined", job_id=record.job_id, file=kept.name, violations=violations)
    raise PolicyViolation(
        "the file is in quarantine and was not handed out: " + "; ".join(violations),
        violations=violations,
    )


def _quarantine(
    signed: Path, record: StampRecord, violations: list[str], store: ManifestStore, folder: Path
) -> Path:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    place = Path(tempfile.mkdtemp(prefix=f"{record.job_id}-", dir=folder))
    kept = place / f"remix{signed.suffix}"
    shutil.move(signed, kept)
    kept.chmod(0o600)
    report = {"job": record.job_id, "violations": violations, "manifest": dict(store.document)}
    (place / "report.json").write_text(json.dumps(report, indent=2), encoding="utf-8")
    return kept
