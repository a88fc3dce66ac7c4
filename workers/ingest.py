"""Ingest: what an owner sent becomes the track's audio, or is refused with its reason."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from sqlalchemy.orm import Session

from service.database import Database
from service.errors import Problem
from service.ingestion import settling
from service.ingestion.refusals import AUDIO_REFUSALS, StemsDisagree, StemsIncomplete
from service.ingestion.retention import hold_objects, release_objects
from service.permit import Permit
from service.settings import Settings
from service.storage import ObjectStore
from workers.audio import Audio, decode, read_audio, write_audio
from workers.fingerprint import fingerprint
from workers.mixing import add
from workers.stamping import TrackRecord, sign_original, sign_stem
from workers.stamping.catalogue import track_record
from workers.stamping.sources import plain_sha256

MIX = "mix"
# Mastering leaves a residual well below the mix; a missing instrument does not.
LARGEST_RESIDUAL = 0.5


def ingest_track(
    database: Database,
    objects: ObjectStore,
    settings: Settings,
    permit: Permit,
    track_id: str,
    workdir: Path,
    *,
    progress: Callable[[float], None] | None = None,
    stop: Callable[[], None] | None = None,
    hold: Callable[[Session], None] = lambda _session: None,
) -> None:
    """Decode a track's uploads, check that they fit, sign and keep them as WAV; settle the track.

    It is ready then, or held where it sounds like another party's. Without a mix, the mix is the
    sum of the stems. All or nothing: a refusal is written to the
    track, and the files sent go with it. Safe to repeat; a second attempt finds what the first
    one settled.

    :param progress: told the part done, 0 to 1.
    :param stop: called now and then; raises to give up (nothing is settled then).
    :param hold: called first in the transaction that settles; raises if the lease is gone.
    :raises Problem: one of `service.ingestion.refusals.AUDIO_REFUSALS`.
    :raises SigningFailed: the signer did not sign; nothing is settled.
    """
    permit.require("ingest", track_id=track_id)
    with database.snapshot() as session:
        uploads = settling.uploads_of(session, track_id)
        if uploads is None:
            return
        track = track_record(session, track_id, "")
    try:
        paths = {}
        for done, (name, digest) in enumerate(sorted(uploads.items())):
            source = objects.fetch(permit, digest, workdir / f"{name}.upload")
            paths[name] = _decode(permit, name, source, settings, stop)
            source.unlink()
            if progress is not None:
                progress((done + 1) / (len(uploads) + 1))
        mix = _check(permit, paths, workdir)
    except Problem as problem:
        if problem.slug in AUDIO_REFUSALS:
            with database.transaction() as session:
                hold(session)
                settling.reject(session, permit, objects, problem)
        raise
    if stop is not None:
        stop()
    paths = _sign(permit, paths, track, settings)
    _keep(database, objects, permit, paths, mix, hold)


def _decode(
    permit: Permit,
    name: str,
    source: Path,
    settings: Settings,
    stop: Callable[[], None] | None,
) -> Path:
    try:
        audio = decode(permit, source, settings, stop=stop)
    except Problem as problem:
        if problem.slug in AUDIO_REFUSALS:
            raise type(problem)(f"{name}: {problem.detail}", upload=name) from problem
        raise
    return write_audio(permit, source.with_name(f"{name}.wav"), audio)


def _check(permit: Permit, paths: dict[str, Path], workdir: Path) -> Audio:
    """The mix; adds its file to `paths` if it is made here. Raises if the stems do not fit."""
    stems = {name: path for name, path in paths.items() if name != MIX}
    if not stems:
        return read_audio(permit, paths[MIX])
    if len(stems) == 1:
        raise StemsIncomplete(
            f"only {', '.join(stems)} was sent; send every stem of the song, or the mix alone"
        )
    total = add(permit, {name: read_audio(permit, path) for name, path in stems.items()})
    if MIX not in paths:
        paths[MIX] = write_audio(permit, workdir / f"{MIX}.wav", total)
        return total
    mix = read_audio(permit, paths[MIX])
    if mix.frames != total.frames:
        raise StemsDisagree(
            f"the mix has {mix.frames} samples and the stems {total.frames} (at 44.1 kHz)"
        )
    _require_whole(permit, mix, total)
    return mix


def _sign(
    permit: Permit, paths: Mapping[str, Path], track: TrackRecord, settings: Settings
) -> dict[str, Path]:
    """The mix and the stems with credentials of their own; the unsigned files go."""
    signed = {}
    for name, path in paths.items():
        destination = path.with_name(f"{name}.signed.wav")
        if name == MIX:
            record = replace(track, sha256=plain_sha256(path))
            sign_original(permit, path, record, destination, settings=settings)
        else:
            sign_stem(
                permit,
                path,
                name,
                track,
                destination,
                settings=settings,
            )
        path.unlink()
        signed[name] = destination
    return signed


def _require_whole(permit: Permit, mix: Audio, total: Audio) -> None:
    permit.require("ingest")
    a, b = mix.samples.ravel().astype(np.float64), total.samples.ravel().astype(np.float64)
    energy, power = float(a @ a), float(b @ b)
    if energy == 0.0:
        return
    gain = float(a @ b) / power if power > 0 else 0.0
    residual = float(np.sum((a - gain * b) ** 2)) / energy
    if residual > LARGEST_RESIDUAL:
        raise StemsIncomplete(
            f"{residual:.0%} of the mix's energy is in none of the stems; send every stem of the "
            "song, or the mix alone"
        )


def _keep(
    database: Database,
    objects: ObjectStore,
    permit: Permit,
    paths: Mapping[str, Path],
    mix: Audio,
    hold: Callable[[Session], None],
) -> None:
    landmarks = fingerprint(permit, mix)
    digests: dict[str, str] = {}
    try:
        for name, path in paths.items():
            digests[name] = objects.put(permit, path)
        with database.snapshot() as session:
            compared = settling.compare_audio(
                session,
                permit,
                audio_sha256=digests[MIX],
                duration_seconds=mix.duration,
                landmarks=landmarks,
            )
        with database.transaction() as session:
            hold(session)
            hold_objects(session, digests.values())
            for name, digest in digests.items():
                # Another track's rejection may have removed it since.
                if not objects.exists(digest):
                    objects.put(permit, paths[name])
            settling.accept_audio(
                session,
                permit,
                audio_sha256=digests[MIX],
                stems={name: digest for name, digest in digests.items() if name != MIX},
                duration_seconds=mix.duration,
                sample_rate=mix.sample_rate,
                channels=mix.channels,
                landmarks=landmarks,
                compared=compared,
            )
    finally:
        # What no row names (the transaction failed, or another attempt settled it) goes.
        with database.transaction() as session:
            release_objects(session, objects, digests.values())
