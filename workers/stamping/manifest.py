"""What a credential states, as C2PA manifest definitions, and what the policy then expects."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from service.provenance import labels
from service.provenance.policy import Expected, token_sha256
from service.watermark.layout import METHOD
from workers.stamping.record import CheckpointRecord, Credit, StampRecord, TrackRecord
from workers.stamping.soft_binding import SoftBinding

_CLAIM_VERSION: Final = 2
_DUBLIN_CORE: Final = "http://purl.org/dc/elements/1.1/"
_IPTC_EXTENSION: Final = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"


def consent_assertion(record: StampRecord) -> dict[str, Any]:
    """By whose consent: the job, the track, the grant and the template version, by hash.

    A preview names its purpose in place of a grant, an excerpt its own beside it.
    """
    grant = {
        "id": record.grant_id,
        "sha256": record.grant_sha256,
        "generation": record.grant_generation,
    }
    return {
        "job": record.job_id,
        "track": {"id": record.track.track_id, "sha256": record.track.sha256},
        **({"purpose": labels.PREVIEW} if record.preview else {"grant": grant}),
        **({"purpose": labels.EXCERPT} if record.excerpt else {}),
        "template": {
            "id": record.template_id,
            "version": record.template_version,
            "sha256": record.template_sha256,
        },
        "token_sha256": token_sha256(record.token_id),
        "choices_sha256": record.choices_sha256,
        "commercial": record.commercial,
    }


def generation_assertion(record: StampRecord) -> dict[str, Any]:
    """How it was made: the same inputs on the same device and dtype give the same samples."""
    return {
        "part": record.part,
        "style": record.style,
        "kept": list(record.kept),
        "separated": record.separated,
        "seed": record.seed,
        "tempo_percent": record.tempo_percent,
        "key_semitones": record.key_semitones,
        "choices": dict(record.choices),
        "parameters": dict(record.parameters),
        "checkpoints": [asdict(checkpoint) for checkpoint in record.checkpoints],
        "code_version": record.code_version,
        "statement": record.statement,
        **({"excerpt": asdict(record.excerpt)} if record.excerpt else {}),
    }


def expected(record: StampRecord, *, time_stamped: bool = False) -> Expected:
    """What the policy must find again in the signed file, with an authority's time or without."""
    return Expected(
        consent=consent_assertion(record),
        generation=generation_assertion(record),
        original_sha256=record.track.sha256,
        soft_bindings=tuple((b.alg, b.value) for b in record.soft_bindings),
        time_stamped=time_stamped,
    )


def remix_definition(record: StampRecord, media_type: str) -> dict[str, Any]:
    """The manifest definition of a remix whose parent is the ingredient `original`."""
    return _definition(
        record.title,
        media_type,
        record.code_version,
        {
            labels.ACTIONS: {"actions": _actions(record)},
            labels.CONSENT: consent_assertion(record),
            labels.GENERATION: generation_assertion(record),
            labels.CREDITS: {"credits": [_credit(credit) for credit in record.credits]},
            labels.METADATA: _metadata(
                record.title, record.track, record.statement, labels.COMPOSITE_WITH_MODEL
            ),
        },
        record.soft_bindings,
    )


def original_definition(track: TrackRecord, media_type: str, code_version: str) -> dict[str, Any]:
    """The manifest definition of an original as its owners gave it to us."""
    action = {
        "action": "c2pa.created",
        "digitalSourceType": labels.COMPOSITE,
        "description": "Recording deposited by its owners.",
    }
    return _definition(
        track.title,
        media_type,
        code_version,
        {
            labels.ACTIONS: {"actions": [action]},
            labels.ORIGINAL: {
                "track": track.track_id,
                "sha256": track.sha256,
                "title": track.title,
                "artist": track.artist,
                "isrc": track.isrc,
                "iswc": track.iswc,
            },
            labels.CREDITS: {"credits": [_credit(credit) for credit in track.credits]},
            labels.METADATA: _metadata(track.title, track, "", labels.COMPOSITE),
        },
    )


def stem_definition(
    track: TrackRecord,
    name: str,
    sha256: str,
    media_type: str,
    code_version: str,
    *,
    separator: CheckpointRecord | None,
) -> dict[str, Any]:
    """The manifest definition of a stem: the artist's own, or one that a separator took out.

    The parent of a separated one is the ingredient `original`.
    """
    title = f"{track.title} ({name})"
    source_type = labels.COMPOSITE if separator is None else labels.ENHANCED
    if separator is None:
        actions: list[dict[str, Any]] = [
            {
                "action": "c2pa.created",
                "digitalSourceType": source_type,
                "description": f"Stem ({name}) deposited by the recording's owners.",
            }
        ]
    else:
        actions = [
            {"action": "c2pa.opened", "parameters": {"ingredientIds": ["original"]}},
            {
                "action": "c2pa.edited",
                "digitalSourceType": source_type,
                "description": f"Stem ({name}) separated from the original recording.",
                "softwareAgent": {"name": separator.name, "version": separator.digest[:16]},
            },
        ]
    stem: dict[str, Any] = {"track": track.track_id, "stem": name, "sha256": sha256}
    if separator is not None:
        stem["checkpoint"] = asdict(separator)
    return _definition(
        title,
        media_type,
        code_version,
        {
            labels.ACTIONS: {"actions": actions},
            labels.STEM: stem,
            labels.METADATA: _metadata(title, track, "", source_type),
        },
    )


def _credit(credit: Credit) -> dict[str, Any]:
    """A credit with the identifiers that are known."""
    return {name: value for name, value in asdict(credit).items() if value is not None}


def _definition(
    title: str,
    media_type: str,
    code_version: str,
    assertions: Mapping[str, Any],
    soft_bindings: Sequence[SoftBinding] = (),
) -> dict[str, Any]:
    never = {use: {"use": "notAllowed"} for use in labels.TRAINING_USES}
    every = [*assertions.items(), (labels.TRAINING_MINING, {"entries": never})]
    # The SDK numbers those of one label by itself.
    every += [(labels.SOFT_BINDING, binding.stand_in()) for binding in soft_bindings]
    return {
        "claim_version": _CLAIM_VERSION,
        "claim_generator_info": [{"name": "Reprise", "version": code_version}],
        "title": title,
        "format": media_type,
        "assertions": [
            {
                "label": label,
                "data": data,
                # Attributed to the signer; C2PA counts the rest as hearsay.
                "created": True,
                **({"kind": "Json"} if label == labels.METADATA else {}),
            }
            for label, data in every
        ],
    }


def _actions(record: StampRecord) -> list[dict[str, Any]]:
    agents = {c.role: {"name": c.name, "version": c.digest[:16]} for c in record.checkpoints}
    actions: list[dict[str, Any]] = [
        {"action": "c2pa.opened", "parameters": {"ingredientIds": ["original"]}}
    ]
    if record.separated and "separator" in agents:
        actions.append(
            {
                "action": "c2pa.edited",
                "description": "Stems separated from the original recording.",
                "softwareAgent": agents["separator"],
            }
        )
    if record.tempo_percent or record.key_semitones:
        actions.append(
            {
                "action": "c2pa.edited",
                "description": (
                    f"Kept stems changed by {record.tempo_percent:+g} % in tempo and "
                    f"{record.key_semitones:+d} semitones in key."
                ),
            }
        )
    actions += [
        {
            "action": "c2pa.edited",
            "description": f"{record.part.capitalize()} regenerated in time with the kept stems.",
            "digitalSourceType": labels.MADE_BY_MODEL,
            "softwareAgent": agents[record.generator.role],
            **({"changes": _regions(record)} if record.redo else {}),
            "parameters": {"org.reprise.part": record.part, "org.reprise.seed": record.seed},
        },
        {
            "action": "c2pa.edited",
            "description": "Kept stems and the regenerated part mixed.",
            "digitalSourceType": labels.COMPOSITE_WITH_MODEL,
        },
    ]
    if record.excerpt:
        actions.append(
            {
                "action": labels.TRIMMED,
                "description": (
                    f"Seconds {record.excerpt.start:.3f} to {record.excerpt.end:.3f} of the remix, "
                    "of the first of several candidates."
                ),
            }
        )
    if any(binding.alg == METHOD for binding in record.soft_bindings):
        actions.append(
            {
                "action": labels.WATERMARKED,
                "description": "Watermark laid on the master; its payload finds this credential.",
            }
        )
    return actions


def _regions(record: StampRecord) -> list[dict[str, Any]]:
    """Where this file's part is new: C2PA regions of interest, in normal play time (RFC 7826)."""
    # A tempo change of p per cent brings every moment forward by 1 / (1 + p / 100).
    pace = 1 + record.tempo_percent / 100
    return [
        {
            "description": f"{record.part.capitalize()} regenerated.",
            "region": [
                {
                    "type": "temporal",
                    "time": {
                        "type": "npt",
                        "start": f"{span.start / pace:.3f}",
                        "end": f"{span.end / pace:.3f}",
                    },
                }
            ],
        }
        for span in record.redo
    ]


def _metadata(title: str, track: TrackRecord, description: str, source_type: str) -> dict[str, Any]:
    return {
        "@context": {"dc": _DUBLIN_CORE, "Iptc4xmpExt": _IPTC_EXTENSION},
        "dc:title": title,
        "dc:creator": [track.artist],
        **({"dc:description": description} if description else {}),
        "Iptc4xmpExt:DigitalSourceType": source_type,
    }
