"""A preview stops when its draft goes or its party does, at every stage, and is never a remix."""

import random
import threading
import time
from collections.abc import Callable

import pytest
from sqlalchemy import update

from service.consent import gate
from service.consent.refusals import ConsentRevoked, JobTokenInvalid, PreviewGone
from service.jobs.lease import StaleLease
from service.jobs.models import Job, JobState
from service.permit import PermitDenied
from service.remixes.publishing import publish
from service.royalties.models import Posting
from tests.jobs_house import at_once
from tests.ledger_house import PRICE
from tests.previews_house import Draft, Parlour

SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def discarded(parlour: Parlour, draft: Draft, job_id: str) -> None:
    parlour.discard(draft, draft.owners[1].principal)


def deleted(parlour: Parlour, draft: Draft, job_id: str) -> None:
    parlour.delete(job_id, draft.owners[1].principal)


def sold(parlour: Parlour, draft: Draft, job_id: str) -> None:
    parlour.sell(draft.track_id, draft.owners[0], parlour.story.owner("Buyer"))


def held(parlour: Parlour, draft: Draft, job_id: str) -> None:
    parlour.story.set_track(draft.track_id, state="held")


@pytest.mark.parametrize("end", [discarded, deleted, sold, held])
def test_it_stops_at_every_door(
    end: Callable[[Parlour, Draft, str], None], parlour: Parlour
) -> None:
    draft = parlour.draft()
    job_id = parlour.preview(draft)
    token, choices = parlour.job(job_id).token, parlour.job(job_id).choices
    mixing = parlour.permit(job_id, "mix")
    lease, publishing = parlour.at_publish(job_id)
    with parlour.database.snapshot() as session:
        gate.check_live(session, mixing)
    end(parlour, draft, job_id)
    with pytest.raises(PreviewGone), parlour.database.snapshot() as session:
        gate.permit(session, parlour.keys, token, "regenerate", choices=choices)
    with pytest.raises(PreviewGone), parlour.database.snapshot() as session:
        gate.check_live(session, mixing)
    file = parlour.file(publishing, "x")
    # Whoever removed it has fenced the worker off as well.
    with pytest.raises((PreviewGone, StaleLease)), parlour.database.transaction() as session:
        publish(session, lease, publishing, file)
    with pytest.raises(PreviewGone), parlour.database.transaction() as session:
        gate.lock_for_publish(session, publishing)
    assert parlour.job(job_id).result is None


@SQLITE
def test_what_was_never_a_preview_is_none(parlour: Parlour) -> None:
    """A token of a preview whose row is not there (another database, a forged id) opens nothing."""
    draft = parlour.draft()
    job_id = parlour.preview(draft)
    permit = parlour.permit(job_id, "mix")
    with parlour.database.transaction() as session:
        session.connection().exec_driver_sql("DELETE FROM previews")
    with pytest.raises(PreviewGone), parlour.database.snapshot() as session:
        gate.check_live(session, permit)
    with pytest.raises(PreviewGone):
        parlour.permit(job_id, "mix")


@SQLITE
@pytest.mark.attack("stage skipped or not granted")
def test_a_previews_permit_publishes_no_remix_and_the_reverse(parlour: Parlour) -> None:
    draft = parlour.draft()
    preview = parlour.preview(draft)
    lease, permit = parlour.at_publish(preview)
    with parlour.database.transaction() as session:
        session.execute(update(Job).where(Job.id == preview).values(kind="remix"))
    file = parlour.file(permit, "x")
    with pytest.raises(StaleLease), parlour.database.transaction() as session:
        publish(session, lease, permit, file)
    remix = parlour.ask(parlour.grant())
    lease, permit = parlour.at_publish(remix)
    with parlour.database.transaction() as session:
        session.execute(update(Job).where(Job.id == remix).values(kind="preview"))
    with pytest.raises(StaleLease), parlour.database.transaction() as session:
        publish(session, lease, permit, file)
    # An owner's Permit for something else publishes nothing either.
    with parlour.database.transaction() as session:
        upload = gate.permit_upload(session, draft.owners[0].principal, draft.track_id)
        with pytest.raises(PermitDenied):
            gate.lock_for_publish(session, upload)


@SQLITE
def test_a_remix_token_needs_its_grant(parlour: Parlour, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own key on a remix token without a grant (a bug of ours) opens nothing."""
    draft = parlour.draft()
    genuine = gate.job_tokens.mint

    def without(keys, claims):
        return genuine(keys, claims.model_copy(update={"purpose": "remix"}))

    monkeypatch.setattr(gate.job_tokens, "mint", without)
    with pytest.raises(JobTokenInvalid, match="names no grant"):
        parlour.preview(draft)
    assert parlour.count(Job) == 0


@SQLITE
def test_it_is_unpaid(parlour: Parlour) -> None:
    price = {**PRICE, "recording_ppm": 1_000_000}
    draft = parlour.draft(commercial=True, price=price)
    job_id = parlour.preview(draft)
    parlour.publish(job_id)
    assert parlour.job(job_id).state == JobState.PUBLISHED
    assert parlour.count(Posting) == 0


def race(parlour: Parlour, draw: random.Random, start_of_discard: float) -> set[str]:
    """Three publications of one draft's previews against its discard; the states they ended in.

    The discard comes within `start_of_discard` seconds, a publication within the tenth of one.
    """
    draft = parlour.draft()
    jobs = [parlour.preview(draft, seed=seed) for seed in range(3)]
    ready = [(job_id, *parlour.at_publish(job_id)) for job_id in jobs]
    files = {job_id: parlour.file(permit, job_id) for job_id, _, permit in ready}
    at_return: dict[str, str] = {}
    start = threading.Barrier(len(jobs) + 1)

    def publisher(job_id, lease, permit) -> Callable[[], bool]:
        pause = draw.uniform(0, 0.1)

        def run() -> bool:
            start.wait()
            time.sleep(pause)
            try:
                with parlour.database.transaction() as session:
                    publish(session, lease, permit, files[job_id])
            except (ConsentRevoked, StaleLease):
                return False
            return True

        return run

    def discarder() -> Callable[[], bool]:
        pause = draw.uniform(0, start_of_discard)

        def run() -> bool:
            start.wait()
            time.sleep(pause)
            parlour.discard(draft)
            at_return.update({job_id: parlour.job(job_id).state for job_id in jobs})
            return True

        return run

    told = at_once([*(publisher(*each) for each in ready), discarder()])
    for job_id, published in zip(jobs, told, strict=False):
        state = parlour.job(job_id).state
        assert state == at_return[job_id], "it changed after the discard had returned"
        assert published == (state == JobState.PUBLISHED)
        assert parlour.row(job_id).removed_at is not None
    return set(at_return.values())


@pytest.mark.attack("publishing against a revocation")
def test_nothing_is_published_after_a_discard_has_returned(parlour: Parlour) -> None:
    draw = random.Random(5)
    outcomes: set[str] = set()
    for number in range(6):
        outcomes |= race(parlour, draw, 0.3 if number % 2 else 0.02)
    assert outcomes == {JobState.PUBLISHED, JobState.REVOKED}, "the race was never a race"
