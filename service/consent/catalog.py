"""What a listener may remix now: tracks with an open grant that covers them."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from service.auth import Principal
from service.catalog.models import Track
from service.consent.models import Grant
from service.consent.quota import quota_used
from service.consent.schemas import CatalogEntry, CatalogPrice, CatalogTrack
from service.database import now
from service.templates.capability import offered_controls
from service.templates.models import TemplateVersion
from service.templates.terms import RedoBounds, TemplateTerms


def open_catalog(
    session: Session, principal: Principal, limit: int, offset: int
) -> list[CatalogEntry]:
    """Tracks the principal may remix now, newest grant first, one entry per template.

    Of a template's versions the newest that is granted counts. Whether the signatures hold is
    the gate's to check when a remix is asked for.
    """
    moment = now()
    # Of all that are open only what decides is read, in one query; the page's rows come after.
    rows = session.execute(
        select(Grant.id, Grant.template_id, Grant.created_at, TemplateVersion.terms)
        .join(Track, Track.id == Grant.track_id)
        .join(Grant.template)
        .where(
            Grant.state == "open",
            Grant.not_before <= moment,
            Grant.expires_at > moment,
            Track.state == "ready",
        )
        .order_by(Grant.template_version.desc(), Grant.created_at.desc(), Grant.id)
    )
    newest: dict[str, tuple[datetime, str]] = {}
    for grant_id, template_id, created_at, terms in rows.tuples():
        if template_id in newest:
            continue
        parsed = TemplateTerms.model_validate(terms)
        if parsed.in_time(moment) and parsed.covers(principal.territory):
            newest[template_id] = (created_at, grant_id)
    found = sorted(newest.values(), key=lambda pair: pair[0], reverse=True)
    page = [grant_id for _, grant_id in found[offset : offset + limit]]
    entries = {
        grant.id: _entry(session, principal, grant, track)
        for grant, track in session.execute(
            select(Grant, Track)
            .join(Track, Track.id == Grant.track_id)
            .options(joinedload(Grant.template))
            .where(Grant.id.in_(page))
        ).tuples()
    }
    return [entries[grant_id] for grant_id in page]


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
        price=None if terms.price is None else CatalogPrice.model_validate(terms.price),
        expires_at=min(grant.expires_at, terms.not_after or grant.expires_at),
        quota_per_listener=terms.quota_per_listener,
        quota_remaining=max(0, terms.quota_per_listener - used),
    )
