"""Making template versions, and reading them back."""

import hashlib
from collections.abc import Sequence
from typing import Any

import rfc8785
from sqlalchemy import func, select
from sqlalchemy.orm import Session, selectinload

from service.auth import Principal
from service.catalog.models import Track
from service.catalog.parties import require_party
from service.catalog.tracks import visible_track
from service.errors import NotFound
from service.templates.capability import check_capability, settled
from service.templates.models import Draft, Template, TemplateVersion
from service.templates.price import check_price
from service.templates.terms import TemplateTerms


def create_template(
    session: Session,
    principal: Principal,
    track_id: str,
    terms: TemplateTerms,
    *,
    platform_fee_ppm: int = 0,
) -> TemplateVersion:
    """Version 1 of a new template for a track the principal owns a share of.

    `platform_fee_ppm` is the least that a price states for the platform. Raises `NotFound`,
    `PartyNeeded`, `PartNotSupported`, `PriceNotPossible` or the registry's refusals.
    """
    track = visible_track(session, principal, track_id)
    party = require_party(session, principal)
    check_capability(terms)
    template = Template(track_id=track.id, created_by=party.id)
    session.add(template)
    session.flush()
    return _add(session, template, 1, track, terms, party.id, platform_fee_ppm)


def add_version(
    session: Session,
    principal: Principal,
    template_id: str,
    terms: TemplateTerms,
    *,
    platform_fee_ppm: int = 0,
) -> TemplateVersion:
    """The next version of a template. Raises as `create_template` does."""
    # Two concurrent requests get two numbers: the second waits for this row.
    template = session.scalar(select(Template).where(Template.id == template_id).with_for_update())
    if template is None:
        raise NotFound("no such template")
    track = visible_template_track(session, principal, template)
    party = require_party(session, principal)
    check_capability(terms)
    last = session.scalar(
        select(func.max(TemplateVersion.version)).where(TemplateVersion.template_id == template_id)
    )
    number = (last or 0) + 1
    return _add(session, template, number, track, terms, party.id, platform_fee_ppm)


def visible_template_track(session: Session, principal: Principal, template: Template) -> Track:
    """The template's track, for those who may see it; else the `NotFound` of no template."""
    try:
        return visible_track(session, principal, template.track_id)
    except NotFound:
        raise NotFound("no such template") from None


def get_version(session: Session, template_id: str, version: int) -> TemplateVersion:
    """One version; raises `NotFound`."""
    found = session.get(TemplateVersion, (template_id, version))
    if found is None:
        raise NotFound("no such template version")
    return found


def list_versions(
    session: Session, track_id: str, limit: int, offset: int
) -> Sequence[TemplateVersion]:
    """Every version of every template of a track, newest first."""
    return session.scalars(
        select(TemplateVersion)
        .options(selectinload(TemplateVersion.draft))
        .where(TemplateVersion.track_id == track_id)
        .order_by(
            TemplateVersion.created_at.desc(),
            TemplateVersion.version.desc(),
            TemplateVersion.template_id,
        )
        .limit(limit)
        .offset(offset)
    ).all()


def canonical_template(
    template_id: str, version: int, track_id: str, terms: TemplateTerms
) -> bytes:
    """The bytes a template version is known by: RFC 8785 JSON of its identity and terms."""
    document: dict[str, Any] = {
        "template": f"{template_id}@{version}",
        "track": track_id,
        "terms": terms.model_dump(mode="json"),
    }
    return rfc8785.dumps(document)


def _add(
    session: Session,
    template: Template,
    version: int,
    track: Track,
    terms: TemplateTerms,
    party_id: str,
    platform_fee_ppm: int,
) -> TemplateVersion:
    terms = settled(terms)
    check_price(terms.price, track, commercial=terms.commercial, platform_fee_ppm=platform_fee_ppm)
    canonical = canonical_template(template.id, version, track.id, terms)
    made = TemplateVersion(
        template_id=template.id,
        version=version,
        track_id=track.id,
        terms=terms.model_dump(mode="json"),
        canonical=canonical,
        sha256=hashlib.sha256(canonical).hexdigest(),
        created_by=party_id,
    )
    session.add(made)
    session.flush()
    session.add(Draft(template_id=template.id, version=version))
    session.flush()
    return made
