"""Stamp: the file a listener gets, with tags, credits and a credential that passed the policy."""

import base64
from collections.abc import Mapping
from typing import Any

from checkpoints import registry
from service.database import now
from service.permit import Permit
from service.recognition.packing import pack_landmarks
from service.templates.capability import generator_of
from workers.artefacts import Made, artefact_key, find
from workers.attempt import Work
from workers.audio import read_audio
from workers.fingerprint import fingerprint
from workers.stages.master import master
from workers.stages.quarantine import quarantine, quarantine_file
from workers.stamping.catalogue import track_record
from workers.stamping.record import CheckpointRecord, StampRecord
from workers.stamping.sources import OriginalRefused, plain_sha256
from workers.stamping.stamp import PolicyViolation
from workers.stamping.stamp import stamp as stamp_file
from workers.stamping.watermark import soft_binding
from workers.version import CODE_VERSION


def stamp(permit: Permit, work: Work) -> Made | None:
    """The encoded, tagged and signed remix; `meta` holds the credential as read back.

    None where the policy refused the file, or the original: then it is in quarantine and the job
    has ended.
    """
    permit.require("stamp", track_id=work.record.track.id)
    record, place = work.record, work.place
    remix = record.made["mix"]
    # Signatures differ from one signing to the next, so the key names the job, and a retry
    # after a signature that was kept signs nothing again.
    key = artefact_key("stamp", job=record.job_id, remix=remix.key)
    kept = find(place.database, place.objects, key)
    if kept is not None:
        return kept
    mixed = place.objects.fetch(permit, remix.main_object, work.folder / "remix.wav")
    original = place.objects.fetch(
        permit, record.track.audio_sha256 or "", work.folder / "original.wav"
    )
    statement = stamp_record(
        permit,
        work,
        plain_sha256(original),
        kept=tuple(remix.meta["kept"]),
        parameters=record.made["regenerate"].meta["parameters"],
    )
    work.watch.progress(0.2)
    try:
        stamped = stamp_file(
            permit,
            master(permit, work, mixed),
            statement,
            work.folder / "stamped",
            original=original,
            audio_format=record.remix.choices.format,
            settings=place.settings,
        )
    except PolicyViolation as refusal:
        quarantine_file(permit, work, refusal)
        return None
    except OriginalRefused as refusal:
        quarantine(permit, work, "stamp", [refusal.detail])
        return None
    digest = place.objects.put(permit, stamped.path)
    heard = fingerprint(permit, read_audio(permit, mixed))
    meta = {
        "manifest": stamped.manifest,
        "landmarks": {
            "count": len(heard),
            "packed": base64.b64encode(pack_landmarks(heard)).decode(),
        },
        "bytes": stamped.path.stat().st_size,
        "seconds": remix.meta["seconds"],
        "watermark": [
            {"alg": binding.alg, "value": binding.value.hex()}
            for binding in statement.soft_bindings
        ],
        "title": statement.title,
        "statement": statement.statement,
        "credits": [
            {"name": credit.name, "role": credit.role, "ai": credit.ai}
            for credit in statement.credits
        ],
    }
    return Made(key, "stamp", digest, stamped.media_type, meta)


def stamp_record(
    permit: Permit,
    work: Work,
    original_sha256: str,
    *,
    kept: tuple[str, ...],
    parameters: Mapping[str, Any],
) -> StampRecord:
    """What the credential is to say of this job.

    :param original_sha256: of the original without its credential.
    :param kept: the stems that stay, by name.
    :param parameters: what the generator was told besides the choices.
    """
    record, remix = work.record, work.record.remix
    separated = record.made["separate"]
    generator = generator_of(remix.terms)
    names = [generator.name, *generator.requires]
    if separated.meta["separator"]:
        names.append(separated.meta["separator"])
    cards = [registry.card(name) for name in names]
    with work.place.database.snapshot() as session:
        said = track_record(session, record.track.id, original_sha256)
    return StampRecord(
        job_id=record.job_id,
        preview=record.kind == "preview",
        track=said,
        part=remix.terms.part,
        kept=kept,
        style=remix.choices.style,
        seed=remix.seed,
        grant_id=remix.grant_id,
        grant_sha256=remix.grant_sha256,
        grant_generation=remix.generation,
        template_id=remix.template_id,
        template_version=remix.template_version,
        template_sha256=remix.template_sha256,
        token_id=record.token_id,
        choices=remix.choices.model_dump(mode="json"),
        choices_sha256=remix.choices_sha256,
        checkpoints=tuple(CheckpointRecord.of(card) for card in cards),
        code_version=CODE_VERSION,
        issued_at=now(),
        commercial=remix.terms.commercial,
        separated=separated.meta["separator"] is not None,
        tempo_percent=remix.choices.tempo_percent,
        key_semitones=remix.choices.key_semitones,
        redo=remix.choices.redo or (),
        parameters=parameters,
        soft_bindings=(soft_binding(record.job_id),),
    )
