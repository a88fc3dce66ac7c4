"""The gate: the only door to a track's audio, and the only module that makes Permits.

A request passes once (`admit`), its job token is used once (`consume`), and every stage asks
again (`permit`): signature, deadline, live generation, stage. Whatever is unknown stays shut.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.auth import Principal, ServiceKeys
from service.catalog.models import Track
from service.catalog.parties import party_of
from service.catalog.shares import owns
from service.catalog.tracks import is_owner, visible_track
from service.consent import job_tokens
from service.consent.dates import said
from service.consent.job_tokens import GrantClaim, JobClaims
from service.consent.models import (
    GateDecision,
    Grant,
    Preview,
    TokenUse,
    TrainingGrant,
)
from service.consent.payload import payload_sha256
from service.consent.previews import release_place, require_preview, require_wanted, take_place
from service.consent.quota import insert_once, release_quota, take_quota, take_total
from service.consent.record.decisions import caller, deciding, sha256_of
from service.consent.refusals import (
    ChoicesChanged,
    ConsentRefused,
    ConsentRevoked,
    JobDeadlinePassed,
    JobTokenInvalid,
    JobTokenReplayed,
    StageNotPermitted,
    TerritoryNotGranted,
    TrackNotReady,
    require_unheld,
)
from service.consent.standing import end_of, find_open_grant, require_in_time, verify_standing
from service.consent.takedowns import require_delivered
from service.consent.training import adapters
from service.consent.training.payload import TrainingAuthorization
from service.consent.training.standing import end_of as end_of_training
from service.consent.training.standing import require_live, verify_training
from service.database import may_write, new_id, now
from service.errors import NotFound
from service.permit import Permit, PermitDenied
from service.settings import Settings
from service.templates.capability import cards_of, check_capability, check_controls
from service.templates.choices import Choices, check_choices, choices_sha256
from service.templates.models import Template, TemplateVersion
from service.templates.servable import check_servable
from service.templates.versions import get_version

__all__ = [
    "Admission",
    "TrainingAdmission",
    "admit",
    "admit_ingest",
    "admit_preview",
    "check_live",
    "check_training",
    "consume",
    "lock_for_publish",
    "permit",
    "permit_download",
    "permit_hearing",
    "permit_inspection",
    "permit_listen",
    "permit_training",
    "permit_upload",
    "release_place",
    "release_quota",
]

UPLOAD_TIME = timedelta(hours=1)
LISTEN_TIME = timedelta(hours=6)
TRAIN_TIME = timedelta(hours=24)
"""A run that lasts longer asks again, by being started again."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A yes: the job token, its claims, and the choices as settled (their seed drawn)."""

    token: str
    claims: JobClaims
    choices: Choices | None = None


@dataclass(frozen=True, slots=True)
class TrainingAdmission:
    """A yes to training: what was signed, its SHA-256, and a Permit for each track by its id."""

    grant_id: str
    sha256: str
    allowed: TrainingAuthorization
    permits: Mapping[str, Permit]


def admit(
    session: Session,
    keys: ServiceKeys,
    settings: Settings,
    principal: Principal,
    template_id: str,
    version: int | None,
    choices: Choices,
    *,
    job_id: str,
) -> Admission:
    """Let one remix through, and mint its job token; the caller's transaction takes the quota.

    Without `version` the newest one with an open grant counts. Raises `NotFound`,
    `ChoiceOutsideTemplate`, `PartNotSupported`, `LengthNotSupported`, what the registry says of a
    checkpoint, or a refusal of `service.consent.refusals`; who has no share of the track is not
    told what it says of the parties.
    """
    known = _known_template(session, template_id, version)
    with (
        _discreet(session, principal, known.get("track_id")),
        deciding(session, "remix", job_id=job_id, **_asked(principal), **known) as decision,
    ):
        grant = find_open_grant(session, template_id, version)
        _note_grant(decision, grant)
        payload = verify_standing(session, grant)
        require_in_time(payload)
        terms = payload.authorization_details.terms
        if not terms.covers(principal.territory):
            raise TerritoryNotGranted(
                f"granted in {', '.join(terms.territories)}, and asked for from "
                f"{principal.territory or 'a country that is not known'}"
            )
        made = get_version(session, grant.template_id, grant.template_version)
        track = _track(session, grant.track_id)
        settled = _settled(made, track, choices)
        take_quota(session, grant, principal.subject, job_id, terms.quota_per_listener)
        take_total(session, grant, job_id, terms.quota_total)
        training = adapters.consent_of(
            session, cards_of(terms).values(), track.id, commercial=terms.commercial
        )
        moment = now()
        deadline = min(
            moment + timedelta(seconds=settings.job_deadline_seconds),
            end_of(payload),
            training.end or end_of(payload),
        )
        claims = _claims(
            keys,
            principal,
            moment,
            deadline,
            job=job_id,
            trk=track.id,
            stages=job_tokens.REMIX_STAGES,
            purpose="remix",
            grant=GrantClaim(
                id=grant.id, gen=grant.generation, sha256=payload_sha256(grant.payload)
            ),
            tpl=made.reference,
            params_sha256=settled.sha256(),
            ckpt={name: card.digest for name, card in cards_of(terms).items()},
            training=training.claims,
        )
        decision.token_sha256 = sha256_of(claims.jti)
        return Admission(token=job_tokens.mint(keys, claims), claims=claims, choices=settled)


def admit_ingest(
    session: Session,
    keys: ServiceKeys,
    settings: Settings,
    principal: Principal,
    track_id: str,
    *,
    job_id: str,
) -> Admission:
    """Let an owner's upload into ingestion (a self-grant: its owner asks for it).

    Raises `NotFound` for everybody else.
    """
    with deciding(
        session, "ingest", job_id=job_id, track_id=_known(session, track_id), **_asked(principal)
    ) as decision:
        _require_owner(session, principal, track_id)
        moment = now()
        claims = _claims(
            keys,
            principal,
            moment,
            moment + timedelta(seconds=settings.job_deadline_seconds),
            job=job_id,
            trk=track_id,
            stages=job_tokens.INGEST_STAGES,
            purpose="ingest",
        )
        decision.token_sha256 = sha256_of(claims.jti)
        return Admission(token=job_tokens.mint(keys, claims), claims=claims)


def admit_preview(
    session: Session,
    keys: ServiceKeys,
    settings: Settings,
    principal: Principal,
    template_id: str,
    version: int,
    choices: Choices,
    *,
    job_id: str,
) -> Admission:
    """Let an owner hear a template version before anybody grants it (a self-grant).

    The choices must lie within its terms, and adapters have their own consent; quotas, territories
    and dates bind listeners only. Raises `NotFound` for everybody but an owner, `TrackNotReady`,
    `TrackHeld`, `VersionDiscarded`, `PreviewsExhausted`, `ChoiceOutsideTemplate`,
    `PartNotSupported`, `LengthNotSupported`, what the registry says of a checkpoint, or what
    `service.consent.training.adapters` raises.
    """
    with deciding(
        session,
        "preview",
        job_id=job_id,
        **_asked(principal),
        **_known_template(session, template_id, version),
    ) as decision:
        template = session.get(Template, template_id)
        party = party_of(session, principal)
        if template is None or party is None or not owns(session, party.id, template.track_id):
            raise NotFound("no such template")
        made = get_version(session, template_id, version)
        track = _track(session, made.track_id)
        require_unheld(track)
        if track.state != "ready":
            raise TrackNotReady("send the track's audio first: there is nothing to preview yet")
        terms = made.parsed
        settled = _settled(made, track, choices)
        take_place(session, made, party.id, job_id, settings.previews_per_version)
        training = adapters.consent_of(
            session, cards_of(terms).values(), track.id, commercial=terms.commercial
        )
        moment = now()
        deadline = moment + timedelta(seconds=settings.job_deadline_seconds)
        claims = _claims(
            keys,
            principal,
            moment,
            min(deadline, training.end or deadline),
            job=job_id,
            trk=track.id,
            stages=job_tokens.REMIX_STAGES,
            purpose="preview",
            tpl=made.reference,
            params_sha256=settled.sha256(),
            ckpt={name: card.digest for name, card in cards_of(terms).items()},
            training=training.claims,
        )
        decision.token_sha256 = sha256_of(claims.jti)
        return Admission(token=job_tokens.mint(keys, claims), claims=claims, choices=settled)


def consume(session: Session, keys: ServiceKeys, token: str, job_id: str) -> JobClaims:
    """Use a job token for its job, for the first and only time.

    Raises `JobTokenInvalid`, `JobTokenExpired`, `JobTokenReplayed` or `ConsentRevoked`.
    """
    with deciding(session, "consume", job_id=job_id) as decision:
        claims = job_tokens.verify(keys, token, fresh=True)
        _note_claims(decision, claims)
        if claims.job != job_id:
            raise JobTokenInvalid("this permission is for another job")
        _require_live(session, claims)
        if not insert_once(
            session, TokenUse, token_id=claims.jti, job_id=claims.job, used_at=now()
        ):
            raise JobTokenReplayed("a job's permission is used once, and this one was")
        return claims


def permit(
    session: Session,
    keys: ServiceKeys,
    token: str,
    stage: str,
    *,
    choices: dict[str, Any] | None,
) -> Permit:
    """The Permit for one stage of a job; workers ask before every stage.

    `choices` are the job's stored choices, compared with those admitted (None for a job without
    any). Raises `JobTokenInvalid`, `JobDeadlinePassed`, `StageNotPermitted`, `ChoicesChanged` or
    `ConsentRevoked`.
    """
    with deciding(session, "stage", stage=stage) as decision:
        claims = job_tokens.verify(keys, token, fresh=False)
        _note_claims(decision, claims)
        used_by = session.scalar(select(TokenUse.job_id).where(TokenUse.token_id == claims.jti))
        if used_by != claims.job:
            raise JobTokenInvalid("this permission was never accepted for this job")
        if now() >= claims.deadline:
            raise JobDeadlinePassed(f"it had to be done by {said(claims.deadline)}")
        if stage not in claims.stages:
            raise StageNotPermitted(f"this job may {', '.join(claims.stages)}, and not {stage}")
        if claims.params_sha256 != (None if choices is None else choices_sha256(choices)):
            raise ChoicesChanged("the job's choices are not those that were admitted")
        _require_live(session, claims)
        return Permit(
            purpose=claims.purpose,
            stage=stage,
            track_id=claims.trk,
            subject=claims.sub,
            job_id=claims.job,
            token_id=claims.jti,
            grant_id=claims.grant.id if claims.grant else None,
            generation=claims.grant.gen if claims.grant else None,
            checkpoints=dict(claims.ckpt),
            valid_until=claims.deadline,
            training={grant.id: grant.gen for grant in claims.training},
        )


def check_live(session: Session, permit: Permit) -> None:
    """Raise `ConsentRevoked` unless the Permit's grants are still open in their generations.

    Those are the remix grant and the training grants of adapters, or what a training runs under;
    a preview is still wanted by an owner. Asked at every step of a model: only its no is recorded.
    """
    with deciding(session, "step", stage=permit.stage, openings=False, **_of_permit(permit)):
        if permit.purpose == "preview":
            require_wanted(session, permit.job_id or "")
        elif permit.purpose != "train":
            _require_generation(session, permit.grant_id, permit.generation, lock=False)
        require_live(session, permit.training)


def check_training(session: Session, generations: Mapping[str, int]) -> None:
    """Raise `ConsentRevoked` unless these training grants are open in these generations."""
    require_live(session, generations)


def lock_for_publish(session: Session, permit: Permit) -> None:
    """Hold the grants until the transaction ends, open in the Permit's generations.

    A preview has no grant: its version's draft is held in its stead. A revocation, or a discard,
    waits for this transaction, or has come first: then `ConsentRevoked` is raised. Raises
    `PermitDenied` for a Permit that is not for publishing.
    """
    with deciding(session, "publish", stage=permit.stage, **_of_permit(permit)):
        permit.require("publish")
        preview = permit.purpose == "preview"
        if permit.grant_id is None and not preview:
            raise PermitDenied("nothing is published without a grant")
        if not may_write(session):
            raise PermitDenied("publishing needs a writing transaction, or the lock holds nothing")
        if preview:
            require_wanted(session, permit.job_id or "", lock=True)
        else:
            _require_generation(session, permit.grant_id, permit.generation, lock=True)
        require_live(session, permit.training, lock=True)


def permit_upload(session: Session, principal: Principal, track_id: str) -> Permit:
    """An owner may send a track's audio. Raises `NotFound` for everybody else."""
    with deciding(session, "upload", track_id=_known(session, track_id), **_asked(principal)):
        _require_owner(session, principal, track_id)
        return _own_permit("upload", "upload", principal, track_id, UPLOAD_TIME)


def permit_listen(session: Session, principal: Principal, track_id: str) -> Permit:
    """An owner may listen to a track, and a listener whom an open grant covers.

    For everybody else there is no such track (`NotFound`).
    """
    with deciding(session, "listen", track_id=_known(session, track_id), **_asked(principal)):
        if principal.role != "operator" and not is_owner(session, principal, track_id):
            _require_any_grant(session, principal, track_id)
        else:
            visible_track(session, principal, track_id)
        return _own_permit("listen", "listen", principal, track_id, LISTEN_TIME)


def permit_download(
    session: Session,
    principal: Principal,
    *,
    job_subject: str,
    track_id: str,
    job_id: str,
    grant_id: str,
) -> Permit:
    """The listener who asked, and the track's owners, may have a remix; others get `NotFound`.

    Nobody may once it was taken down (`TakenDown`): by an order, or because its grant was revoked
    and says `takedown`.
    """
    with deciding(
        session, "listen", track_id=track_id, job_id=job_id, grant_id=grant_id, **_asked(principal)
    ):
        if principal.subject != job_subject and not (
            principal.role == "operator" or is_owner(session, principal, track_id)
        ):
            raise NotFound("no such remix")
        require_delivered(session, job_id, grant_id)
        return _own_permit("listen", "listen", principal, track_id, LISTEN_TIME, job_id)


def permit_excerpt(
    session: Session, keys: ServiceKeys, principal: Principal, *, job_subject: str, token: str
) -> Permit:
    """Who asked for a remix may hear excerpts of it while it is made; others get `NotFound`.

    As every stage, it asks whether the consent that the job's `token` names is live. Raises
    `ConsentRevoked`, `JobTokenInvalid` or `JobDeadlinePassed`.
    """
    with deciding(session, "listen", **_asked(principal)) as decision:
        claims = job_tokens.verify(keys, token, fresh=False)
        _note_claims(decision, claims)
        if principal.subject != job_subject or claims.purpose != "remix":
            raise NotFound("no such remix")
        if now() >= claims.deadline:
            raise JobDeadlinePassed(f"it had to be done by {said(claims.deadline)}")
        _require_live(session, claims)
        return _own_permit("listen", "listen", principal, claims.trk, LISTEN_TIME, claims.job)


def permit_inspection(
    session: Session, principal: Principal, *, track_id: str, job_id: str
) -> Permit:
    """An operator may look at a file that never left and never will; others get `NotFound`.

    No grant has a say in it: a preview has none, and one that was taken back hides no fault.
    """
    with deciding(session, "listen", track_id=track_id, job_id=job_id, **_asked(principal)):
        if principal.role != "operator":
            raise NotFound("no such file")
        return _own_permit("listen", "listen", principal, track_id, LISTEN_TIME, job_id)


def permit_hearing(session: Session, principal: Principal, job_id: str) -> Permit:
    """An owner of the track may hear a preview while it is kept; others get `NotFound`.

    Nobody else may, whatever the role: it is nothing that was ever granted. Raises `PreviewGone`.
    """
    preview = session.get(Preview, job_id)
    if preview is None:
        raise NotFound("no such preview")
    with deciding(
        session,
        "listen",
        track_id=preview.track_id,
        template_id=preview.template_id,
        template_version=preview.template_version,
        job_id=job_id,
        **_asked(principal),
    ):
        if not is_owner(session, principal, preview.track_id):
            raise NotFound("no such preview")
        require_preview(session, job_id)
        return _own_permit("listen", "listen", principal, preview.track_id, LISTEN_TIME, job_id)


def permit_training(session: Session, grant_id: str) -> TrainingAdmission:
    """A Permit for every track of a training grant's catalogue, while everything about it holds.

    Who starts the training matters not: what allows it is what all owners signed. Raises
    `NotFound`, or a refusal of `service.consent.refusals`.
    """
    grant = session.get(TrainingGrant, grant_id, populate_existing=True)
    if grant is None:
        raise NotFound("no such training grant")
    with deciding(session, "train", grant_id=grant.id, generation=grant.generation):
        payload = verify_training(session, grant, sound=True)
        until = min(now() + TRAIN_TIME, end_of_training(payload))
        permits = {
            track.id: Permit(
                purpose="train",
                stage="train",
                track_id=track.id,
                subject=grant.created_by,
                job_id=None,
                token_id=None,
                grant_id=grant.id,
                generation=grant.generation,
                checkpoints=dict(payload.authorization_details.checkpoints),
                valid_until=until,
                training={grant.id: grant.generation},
            )
            for track in payload.authorization_details.catalogue
        }
        return TrainingAdmission(
            grant_id=grant.id,
            sha256=payload_sha256(grant.payload),
            allowed=payload.authorization_details,
            permits=permits,
        )


@contextmanager
def _discreet(session: Session, principal: Principal, track_id: str | None) -> Iterator[None]:
    """Keep to the owners what a refusal says of them; the record has its exact words."""
    try:
        yield
    except ConsentRefused as refusal:
        if principal.role == "operator" or (
            track_id is not None and is_owner(session, principal, track_id)
        ):
            raise
        raise refusal.for_strangers() from None


def _asked(principal: Principal) -> dict[str, Any]:
    return {"caller_sha256": caller(principal)}


def _known(session: Session, track_id: str) -> str | None:
    """The track's id if there is such a track: what is not there concerns nobody."""
    return session.scalar(select(Track.id).where(Track.id == track_id))


def _known_template(session: Session, template_id: str, version: int | None) -> dict[str, Any]:
    track_id = session.scalar(select(Template.track_id).where(Template.id == template_id))
    if track_id is None:
        return {}
    return {"track_id": track_id, "template_id": template_id, "template_version": version}


def _of_permit(permit: Permit) -> dict[str, Any]:
    return {
        "track_id": permit.track_id,
        "job_id": permit.job_id,
        "grant_id": permit.grant_id,
        "generation": permit.generation,
        "token_sha256": None if permit.token_id is None else sha256_of(permit.token_id),
    }


def _note_grant(decision: GateDecision, grant: Grant) -> None:
    decision.grant_id, decision.generation = grant.id, grant.generation
    decision.template_version = grant.template_version


def _note_claims(decision: GateDecision, claims: JobClaims) -> None:
    decision.token_sha256 = sha256_of(claims.jti)
    decision.track_id, decision.job_id = claims.trk, claims.job
    if claims.grant is not None:
        decision.grant_id, decision.generation = claims.grant.id, claims.grant.gen
    if claims.tpl is not None:
        decision.template_id, version = claims.tpl.split("@")
        decision.template_version = int(version)


def _require_live(session: Session, claims: JobClaims) -> None:
    if claims.purpose == "preview":
        require_wanted(session, claims.job)
    elif claims.grant is not None:
        _require_generation(session, claims.grant.id, claims.grant.gen, lock=False)
    elif claims.purpose != "ingest":
        raise JobTokenInvalid("this permission names no grant")
    require_live(session, {grant.id: grant.gen for grant in claims.training})


def _require_generation(
    session: Session, grant_id: str | None, generation: int | None, *, lock: bool
) -> None:
    if grant_id is None:
        return
    query = select(Grant.state, Grant.generation).where(Grant.id == grant_id)
    if lock:
        query = query.with_for_update()
    row = session.execute(query).one_or_none()
    if row is None or row.state != "open" or row.generation != generation:
        raise ConsentRevoked("an owner took the consent for this back")


def _require_owner(session: Session, principal: Principal, track_id: str) -> None:
    # An operator runs the service and owns nothing: not even an operator uploads for another.
    if session.get(Track, track_id) is None or not is_owner(session, principal, track_id):
        raise NotFound("no such track")


def _require_any_grant(session: Session, principal: Principal, track_id: str) -> None:
    grants = session.scalars(
        select(Grant).where(Grant.track_id == track_id, Grant.state == "open")
    ).all()
    for grant in grants:
        try:
            payload = verify_standing(session, grant)
            require_in_time(payload)
        except ConsentRefused:
            continue
        if payload.authorization_details.terms.covers(principal.territory):
            return
    raise NotFound("no such track")


def _settled(made: TemplateVersion, track: Track, choices: Choices) -> Choices:
    """The choices with nothing left open, if the version and the track allow them."""
    terms, settled = made.parsed, choices.settled()
    check_choices(made, settled, track)
    check_capability(terms)
    check_controls(terms, settled.controls)
    stems = {stem.name for stem in track.stems}
    check_servable(terms, stems, track.duration_seconds, settled.tempo_percent)
    return settled


def _track(session: Session, track_id: str) -> Track:
    track = session.get(Track, track_id)
    if track is None:
        raise NotFound("no such track")
    return track


def _claims(
    keys: ServiceKeys, principal: Principal, moment: datetime, deadline: datetime, **claims: Any
) -> JobClaims:
    issued = int(moment.timestamp())
    return JobClaims(
        iss=job_tokens.ISSUER,
        aud=job_tokens.AUDIENCE,
        sub=keys.pairwise(principal.subject),
        jti=new_id("tok"),
        iat=issued,
        exp=issued + job_tokens.LIFETIME_SECONDS,
        job_deadline=int(deadline.timestamp()),
        **claims,
    )


def _own_permit(
    purpose: Any,
    stage: str,
    principal: Principal,
    track_id: str,
    lifetime: timedelta,
    job_id: str | None = None,
) -> Permit:
    return Permit(
        purpose=purpose,
        stage=stage,
        track_id=track_id,
        subject=principal.subject,
        job_id=job_id,
        token_id=None,
        grant_id=None,
        generation=None,
        checkpoints={},
        valid_until=now() + lifetime,
    )
