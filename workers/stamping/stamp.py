"""The stamp stage: nothing leaves without a credential that our policy accepts."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.errors import Problem
from service.permit import Permit, PermitDenied
from service.provenance import policy
from service.provenance.extraction import read_signed
from service.provenance.jumbf import soft_bindings
from service.provenance.labels import MEDIA_TYPES
from service.provenance.manifest_store import ManifestStore
from service.provenance.policy import Expected
from service.provenance.trust import Trust, load_trust
from service.settings import Settings, get_settings
from service.storage import file_sha256
from workers.stamping.encode import encode
from workers.stamping.identity import load_identity
from workers.stamping.manifest import expected, remix_definition
from workers.stamping.record import AudioFormat, StampRecord
from workers.stamping.signing import sign
from workers.stamping.sources import parent_of
from workers.stamping.tags import tags


class PolicyViolation(Problem):
    """The signed file does not satisfy the policy and may not leave.

    `path` is the file, set apart under a name of its own; `violations` say why, `manifest_id` is
    the credential's identity where it could be read, `media_type` the file's, `expected` what the
    job's record says.
    """

    status = 500
    slug = "quarantined"
    title = "The credential did not pass the policy"

    def __init__(
        self,
        violations: list[str],
        *,
        path: Path,
        media_type: str,
        manifest_id: str,
        expected: Expected,
    ) -> None:
        super().__init__("the file was not handed out: " + "; ".join(violations))
        self.violations = violations
        self.path = path
        self.media_type = media_type
        self.manifest_id = manifest_id
        self.expected = expected


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
    :raises PolicyViolation: the file is set apart as `out_dir/refused.<format>`, for quarantine.
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
            parent=parent_of(
                permit,
                original,
                record.track,
                work,
                identity=identity,
                trust=trust,
            ),
            soft_bindings=record.soft_bindings,
        )
        wanted = expected(record, time_stamped=identity.tsa_url is not None)
        store = _require_policy(signed, wanted, trust, media_type, out_dir)
        destination = out_dir / f"{record.job_id}.{audio_format}"
        signed.replace(destination)
    return Stamped(
        path=destination,
        sha256=file_sha256(destination),
        manifest=dict(store.document),
        media_type=media_type,
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


def _require_policy(
    signed: Path, wanted: Expected, trust: Trust, media_type: str, out_dir: Path
) -> ManifestStore:
    """The credential of a signed file, if the policy accepts it; else the file is set apart."""
    store = ManifestStore({})
    try:
        store = read_signed(signed, trust.sdk_settings_json())
        found = soft_bindings(signed, store.active_id)
        violations = policy.check(store, wanted, found)
    except ValueError as error:
        violations = [f"the credential cannot be read back: {error}"]
    if not violations:
        return store
    refused = signed.replace(out_dir / f"refused{signed.suffix}")
    raise PolicyViolation(
        violations,
        path=refused,
        media_type=media_type,
        manifest_id=store.active_id,
        expected=wanted,
    )
