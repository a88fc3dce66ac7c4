"""Sources: originals and stems with credentials of their own, so that no chain has a hole.

They are signed once, when they come into the store. A credential is a chunk at the end of the WAV
file: the samples, and every byte before it, stay as they are. What a source *is* therefore has one
name with a credential and without: the SHA-256 of the file without it (`plain_sha256`).
"""

import hashlib
import struct
from pathlib import Path
from typing import Final

from service.errors import Problem
from service.permit import Permit
from service.provenance.extraction import extract
from service.provenance.labels import MEDIA_TYPES
from service.provenance.manifest_store import ManifestStore
from service.provenance.trust import Trust, load_trust
from service.settings import Settings, get_settings
from workers.stamping.identity import SigningIdentity, load_identity
from workers.stamping.manifest import original_definition, stem_definition
from workers.stamping.record import CheckpointRecord, TrackRecord
from workers.stamping.signing import Parent, sign
from workers.version import CODE_VERSION

WAV: Final = MEDIA_TYPES["wav"]
_BLOCK: Final = 1 << 20
_CHUNK: Final = b"C2PA"


class OriginalRefused(Problem):
    """The original at hand is not the track's audio, or its own credential does not hold."""

    status = 500
    slug = "original-refused"
    title = "The original does not prove to be the track"


def plain_sha256(path: Path) -> str:
    """The SHA-256 (hex) of a WAV file as it was before a credential was put into it.

    :raises ValueError: the file is not RIFF, or a chunk does not fit into it.
    """
    digest = hashlib.sha256()
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
            raise ValueError("not a WAV file")
        kept, credential, at = 12, 0, 12
        spans = []
        while at + 8 <= size:
            file.seek(at)
            kind, length = struct.unpack("<4sI", file.read(8))
            end = at + 8 + length + length % 2
            if at + 8 + length > size:
                raise ValueError(f"the chunk {kind!r} does not fit into the file")
            if kind == _CHUNK:
                credential += end - at
            else:
                spans.append((at, min(end, size)))
                kept = end
            at = end
        (riff,) = struct.unpack_from("<I", head, 4)
        digest.update(head[:4] + struct.pack("<I", riff - credential) + head[8:])
        for begin, end in [*spans, (max(kept, at), size)]:
            file.seek(begin)
            while begin < end and (block := file.read(min(_BLOCK, end - begin))):
                digest.update(block)
                begin += len(block)
    return digest.hexdigest()


def sign_original(
    permit: Permit,
    path: Path,
    track: TrackRecord,
    destination: Path,
    *,
    settings: Settings | None = None,
) -> Path:
    """Write the original (WAV) with a credential of its own to `destination`.

    :param permit: of stage `ingest`, `separate` or `stamp`, for this track.
    :raises OriginalRefused: `path` is not the audio that `track.sha256` names.
    :raises SigningFailed: nothing was signed, and nothing is left behind.
    """
    settings = settings or get_settings()
    identity = load_identity(settings)
    trust = load_trust(settings)
    return _sign_original(permit, path, track, destination, identity, trust)


def original_of(
    permit: Permit,
    original: Path,
    track: TrackRecord,
    folder: Path,
    *,
    settings: Settings | None = None,
) -> Path:
    """The original with a credential that holds; see `parent_of`."""
    settings = settings or get_settings()
    identity = load_identity(settings)
    return parent_of(
        permit, original, track, folder, identity=identity, trust=load_trust(settings)
    ).path


def sign_stem(
    permit: Permit,
    path: Path,
    name: str,
    track: TrackRecord,
    destination: Path,
    *,
    original: Path | None = None,
    separator: CheckpointRecord | None = None,
    settings: Settings | None = None,
) -> Path:
    """Write a stem (WAV) with a credential of its own to `destination`.

    :param permit: of stage `ingest` (the artist's own stem) or `separate`.
    :param original: what `separator` took it from, with a credential; None for an artist's own.
    :raises SigningFailed: nothing was signed, and nothing is left behind.
    """
    permit.require("ingest", "separate", track_id=track.track_id)
    settings = settings or get_settings()
    identity = load_identity(settings)
    definition = stem_definition(
        track, name, plain_sha256(path), WAV, CODE_VERSION, separator=separator
    )
    sign(
        permit,
        path,
        destination,
        definition,
        identity=identity,
        trust=load_trust(settings),
        parent=None if original is None else Parent(original, WAV, track.title),
    )
    return destination


def parent_of(
    permit: Permit,
    original: Path,
    track: TrackRecord,
    folder: Path,
    *,
    identity: SigningIdentity,
    trust: Trust,
) -> Parent:
    """The original with a credential that holds, checked before anything is signed upon it.

    It is signed now if it has no credential yet, or if that ended with its certificate or its
    signer is trusted no more: a track outlives the keys of the day on which it was ingested.

    :param folder: where it is signed.
    :raises OriginalRefused: it is other audio, or was changed after it was signed.
    """
    answer = extract(original, trust.sdk_settings_json())
    if answer["outcome"] == "read":
        store = ManifestStore(answer["store"])
        found = [*store.failures(), *store.ingredient_failures()]
        if store.state == "Trusted" and not found:
            _require_audio(original, track)
            return Parent(original, WAV, track.title)
        intact = store.state == "Valid" and not any(f.breaks_integrity for f in found)
        if not (intact or store.only_ended):
            raise OriginalRefused(
                f"the original's own credential is {store.state}, not Trusted. "
                + "; ".join(str(failure) for failure in found)
            )
    elif answer["outcome"] != "absent":
        raise OriginalRefused(f"the original cannot be read: {answer['outcome']}")
    signed = _sign_original(
        permit, original, track, folder / "original.signed.wav", identity, trust
    )
    return Parent(signed, WAV, track.title)


def _sign_original(
    permit: Permit,
    path: Path,
    track: TrackRecord,
    destination: Path,
    identity: SigningIdentity,
    trust: Trust,
) -> Path:
    permit.require("stamp", "separate", "ingest", track_id=track.track_id)
    _require_audio(path, track)
    definition = original_definition(track, WAV, CODE_VERSION)
    sign(permit, path, destination, definition, identity=identity, trust=trust)
    return destination


def _require_audio(path: Path, track: TrackRecord) -> None:
    if plain_sha256(path) != track.sha256:
        raise OriginalRefused("the file is not the audio that the catalogue names for this track")
