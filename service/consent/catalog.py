"""What a listener may remix now: tracks with an open grant that covers them."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.auth import Principal
from service.catalog.models import Track
from service.consent.models import Grant
from service.consent.quota import quota_used
from service.consent.schemas import CatalogEntry, CatalogTrack
from service.database import now
from service.templates.capability import offered_controls
from service.templates.terms import RedoBounds


def open_catalog(
    session: Session, principal: Principal, limit: int, offset: int
) -> list[CatalogEntry]:
    """Tracks the principal may remix now, newest grant first, one entry per template.

    Of a template's versions the newest that is granted counts. Whether the signatures hold is
    the gate's to check when a remix is asked for.
    """
    moment = now()
    rows = session.execute(
        select(Grant, Track)
        .join(Track, Track.id == Grant.track_id)
        .where(
            Grant.state == "open",
            Grant.not_before <= moment,
            Grant.expires_at > moment,
            Track.state == "ready",
        )
        .order_by(Grant.template_version.desc(), Grant.created_at.desc(), Grant.id)
    ).all()
    newest: dict[str, tuple[Grant, Track]] = {}
    for grant, track in rows:
        terms = grant.template.parsed
        if terms.in_time(moment) and terms.covers(principal.territory):
            newest.setdefault(grant.template_id, (grant, track))
    found = sorted(newest.values(), key=lambda pair: pair[0].created_at, reverse=True)
    return [_entry(session, principal, *pair) for pair in found[offset : offset + limit]]


def _entry(session: Session, principal: Principal, grant: Grant, track: Track) -> CatalogEntry:
    terms = grant.template.parsed
    controls = offered_controls(terms)
    used = quota_used(session, grant.template_id, principal.subject)
    return CatalogEntry(
        track=CatalogTrack(
            id=track.id,
            title=track.title,
            artist=track.artist,
            isrc=track.isrc,
            credits=track.credits,
            duration_seconds=track.duration_seconds,
        ),
        template_id=grant.template_id,
        version=grant.template_version,
        part=terms.part,
        styles=terms.styles,
        free_text=terms.free_text,
        tempo_percent=terms.tempo_percent,
        key_semitones=terms.key_semitones,
        guidance=terms.guidance,
        densities=(terms.densities or []) if "density" in controls else [],
        fills="fills" in controls,
        swing="swing" in controls,
        redo_seconds=terms.redo_seconds or RedoBounds(),
        commercial=terms.commercial,
        expires_at=min(grant.expires_at, terms.not_after or grant.expires_at),
        quota_per_listener=terms.quota_per_listener,
        quota_remaining=max(0, terms.quota_per_listener - used),
    )
