"""Previews: whose they are, how many of a version are kept, and who heard which."""

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from service.catalog.models import Track
from service.catalog.shares import owns
from service.consent.models import Hearing, Preview
from service.consent.quota import insert_once
from service.consent.refusals import PreviewGone, PreviewsExhausted
from service.database import now
from service.templates.drafts import hold_draft, require_kept
from service.templates.models import Draft, TemplateVersion


def take_place(
    session: Session, version: TemplateVersion, party_id: str, job_id: str, most: int
) -> None:
    """Take one of a version's `most` places for the preview that `job_id` makes for a party.

    Requests at once, and a discard, wait for each other at the draft's row. Raises
    `VersionDiscarded` or `PreviewsExhausted`.
    """
    require_kept(hold_draft(session, version.template_id, version.version))
    taken = session.scalar(
        select(func.count()).where(
            Preview.template_id == version.template_id,
            Preview.template_version == version.version,
            Preview.counted,
        )
    )
    if (taken or 0) >= most:
        raise PreviewsExhausted(
            f"{most} previews of this version are kept or being made; delete one first",
            previews=most,
        )
    session.add(
        Preview(
            job_id=job_id,
            template_id=version.template_id,
            template_version=version.version,
            track_id=version.track_id,
            party_id=party_id,
        )
    )
    session.flush()


def release_place(session: Session, job_id: str) -> None:
    """Give a preview's place back (it made nothing, or is deleted); nothing if it holds none."""
    session.execute(
        update(Preview).where(Preview.job_id == job_id).values(counted=False),
        execution_options={"synchronize_session": False},
    )


def require_preview(session: Session, job_id: str, *, lock: bool = False) -> Preview:
    """The preview, if neither it nor its draft was given up; with `lock`, held so until the end.

    Holding the draft makes a discard wait, or it has come first. Raises `PreviewGone`, also for
    what was never a preview.
    """
    found = session.execute(
        select(Preview, Draft)
        .join(
            Draft,
            (Draft.template_id == Preview.template_id)
            & (Draft.version == Preview.template_version),
        )
        .where(Preview.job_id == job_id),
        execution_options={"populate_existing": True},
    ).one_or_none()
    if found is None:
        raise PreviewGone("there is no such preview")
    if lock:
        hold_draft(session, found.Draft.template_id, found.Draft.version)
        session.refresh(found.Preview)
    if found.Draft.discarded_at is not None:
        raise PreviewGone(
            f"an owner discarded version {found.Draft.version} of the template, and its previews "
            "with it",
            changed_by="the track's owners, by a further version of the template",
        )
    if found.Preview.removed_at is not None:
        raise PreviewGone("an owner deleted the preview")
    preview: Preview = found.Preview
    return preview


def require_wanted(session: Session, job_id: str, *, lock: bool = False) -> None:
    """Raise `PreviewGone` unless a preview may still be made.

    It is kept, and the party that asked for it still has a share of the track, which is ready.
    """
    preview = require_preview(session, job_id, lock=lock)
    if not owns(session, preview.party_id, preview.track_id):
        raise PreviewGone(
            "the party that asked for the preview has no share of the track any more",
            limit="previews are for the track's owners",
        )
    if session.scalar(select(Track.state).where(Track.id == preview.track_id)) != "ready":
        raise PreviewGone("the track is not ready any more", limit="state of the track")


def note_hearing(session: Session, party_id: str, job_id: str, file_sha256: str) -> None:
    """Note that a party hears a preview; only the first time counts."""
    insert_once(
        session,
        Hearing,
        party_id=party_id,
        job_id=job_id,
        file_sha256=file_sha256,
        heard_at=now(),
    )


def heard_by(session: Session, party_id: str, template_id: str, version: int) -> list[str]:
    """SHA-256 of the previews of a version that a party has heard, in that order."""
    return list(
        session.scalars(
            select(Hearing.file_sha256)
            .join(Preview, Preview.job_id == Hearing.job_id)
            .where(
                Hearing.party_id == party_id,
                Preview.template_id == template_id,
                Preview.template_version == version,
            )
            .order_by(Hearing.heard_at, Hearing.job_id)
        )
    )
