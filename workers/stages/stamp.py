"""Stamp: the file a listener gets, with tags, credits and a credential that passed the policy."""

from checkpoints import registry
from service.database import now
from service.permit import Permit
from service.templates.capability import generator_of
from workers.artefacts import CODE_VERSION, Made, artefact_key, find
from workers.attempt import Work
from workers.stamping.record import CheckpointRecord, Credit, StampRecord, TrackRecord
from workers.stamping.stamp import stamp as stamp_file


def stamp(permit: Permit, work: Work) -> Made:
    """The encoded, tagged and signed remix; `meta` holds the credential as read back.

    Raises `workers.stamping.stamp.PolicyViolation` when the file had to go to quarantine.
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
    statement = stamp_record(permit, work)
    mixed = place.objects.fetch(permit, remix.main_object, work.folder / "remix.wav")
    original = place.objects.fetch(permit, statement.track.sha256, work.folder / "original.wav")
    work.watch.progress(0.2)
    stamped = stamp_file(
        permit,
        mixed,
        statement,
        work.folder / "stamped",
        original=original,
        audio_format=record.remix.choices.format,
        settings=place.settings,
    )
    digest = place.objects.put(permit, stamped.path)
    meta = {
        "manifest": stamped.manifest,
        "bytes": stamped.path.stat().st_size,
        "seconds": remix.meta["seconds"],
        "title": statement.title,
        "statement": statement.statement,
        "credits": [
            {"name": credit.name, "role": credit.role, "ai": credit.ai}
            for credit in statement.credits
        ],
    }
    return Made(key, "stamp", digest, stamped.media_type, meta)


def stamp_record(permit: Permit, work: Work) -> StampRecord:
    """What the credential is to say of this job."""
    record, remix = work.record, work.record.remix
    track, separated = record.track, record.made["separate"]
    generator = generator_of(remix.terms)
    names = [generator.name, *generator.requires]
    if separated.meta["separator"]:
        names.append(separated.meta["separator"])
    cards = [registry.card(name) for name in names]
    return StampRecord(
        job_id=record.job_id,
        preview=record.kind == "preview",
        track=TrackRecord(
            track_id=track.id,
            title=track.title,
            artist=track.artist,
            sha256=track.audio_sha256 or "",
            credits=tuple(Credit(name=c["name"], role=c["role"]) for c in track.credits),
            isrc=track.isrc,
            iswc=track.iswc,
        ),
        part=remix.terms.part,
        kept=tuple(record.made["mix"].meta["kept"]),
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
        parameters=record.made["regenerate"].meta["parameters"],
    )
