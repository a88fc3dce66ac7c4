"""When a draft goes its previews go, files too, whatever breaks in between; nothing else does."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import func, select

from service.consent.models import GateDecision, Grant
from service.consent.refusals import ConsentRevoked, PreviewGone
from service.errors import NotFound
from service.ingestion import retention
from service.jobs.models import Artefact, Job, JobState, OutboxRow
from service.jobs.relay import run_relay
from service.previews import sweeping
from service.previews.reading import audible
from service.storage import ObjectStore
from service.templates.drafts import VersionDiscarded, VersionGranted
from service.templates.models import TemplateVersion
from service.templates.versions import get_version
from tests.jobs_house import at_once
from tests.previews_house import Draft, Parlour

SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def hear(parlour: Parlour, draft: Draft, job_id: str) -> None:
    with parlour.database.snapshot() as session:
        audible(session, draft.owners[0].principal, job_id)


def test_everything_of_a_draft_goes_and_its_record_stays(parlour: Parlour) -> None:
    draft = parlour.draft()
    ada, label = draft.owners
    grant_id, payload = parlour.story.grant(ada, draft.template_id)
    parlour.story.sign(ada, grant_id, payload)
    with parlour.database.snapshot() as session:
        before = get_version(session, draft.template_id, 1).canonical
    done, running, waiting = (parlour.preview(draft, seed=seed) for seed in range(3))
    file = parlour.publish(done)
    parlour.at_publish(running)
    hear(parlour, draft, done)

    parlour.discard(draft, label.principal)

    with parlour.database.snapshot() as session:
        version = session.get_one(TemplateVersion, (draft.template_id, 1))
        assert version.canonical == before
        assert version.discarded_at is not None
        assert version.draft.discarded_by == label.principal.subject
        grant = session.get_one(Grant, grant_id)
        assert (grant.state, grant.generation) == ("revoked", 2)
        assert session.scalar(select(func.count()).select_from(OutboxRow)) == 0
        doors = set(session.scalars(select(GateDecision.door).where(GateDecision.job_id == done)))
        assert {"preview", "publish", "listen"} <= doors
    states = {job_id: parlour.job(job_id).state for job_id in (done, running, waiting)}
    assert states == {
        done: JobState.PUBLISHED,
        running: JobState.REVOKED,
        waiting: JobState.REVOKED,
    }
    assert parlour.job(running).reason == "version-discarded"
    with pytest.raises(PreviewGone) as gone:
        hear(parlour, draft, done)
    assert gone.value.document()["status"] == 410
    assert gone.value.document()["changed_by"]
    # Nothing of it can be granted, signed or heard any more.
    with pytest.raises(VersionDiscarded, match="make a further version"):
        parlour.preview(draft)
    with pytest.raises(VersionDiscarded):
        parlour.story.grant(ada, draft.template_id)
    with pytest.raises(ConsentRevoked):
        parlour.story.sign(label, grant_id, payload)
    # The files are there until the sweep, and then are not.
    assert parlour.objects.exists(file.sha256)
    assert parlour.sweep() == 3
    assert list(parlour.objects.digests()) == []
    assert parlour.count(Artefact) == 0
    assert parlour.job(done).result is None
    assert parlour.sweep() == 0
    # Twice is as good as once.
    parlour.discard(draft)
    assert parlour.count(Job) == 3


@SQLITE
def test_only_an_owner_discards(parlour: Parlour) -> None:
    draft = parlour.draft()
    for who in (parlour.story.owner("Mallory").principal, parlour.story.listener()):
        with pytest.raises(NotFound):
            parlour.discard(draft, who)
    parlour.sell(draft.track_id, draft.owners[0], parlour.story.owner("Buyer"))
    with pytest.raises(NotFound):
        parlour.discard(draft)
    job_id = parlour.preview(draft, draft.owners[1].principal)
    with pytest.raises(NotFound):
        parlour.delete(job_id, draft.owners[0].principal)


@SQLITE
def test_what_was_granted_once_is_no_draft_any_more(parlour: Parlour) -> None:
    granted = parlour.grant()
    draft = Draft(granted.owners, granted.track_id, granted.template_id)
    job_id = parlour.preview(draft)
    for _ in range(2):
        with pytest.raises(VersionGranted) as refusal:
            parlour.discard(draft)
        assert refusal.value.document()["limit"]
        parlour.revoke(granted)
    parlour.publish(job_id)
    hear(parlour, draft, job_id)
    # A further version of the same template is a draft of its own.
    second = parlour.story.version(draft.owners[0], draft.template_id)
    parlour.discard(Draft(draft.owners, draft.track_id, draft.template_id, second))
    hear(parlour, draft, job_id)


def test_the_last_signature_against_a_discard(parlour: Parlour) -> None:
    """Either the grant opened and the version stays, or it is discarded and the grant ended."""
    draw = random.Random(3)
    outcomes = set()
    for number in range(8):
        # Each in turn is given a start.
        late = {"sign": 0.15, "discard": 0.02} if number % 2 else {"sign": 0.02, "discard": 0.15}
        draft = parlour.draft()
        ada, label = draft.owners
        grant_id, payload = parlour.story.grant(ada, draft.template_id)
        parlour.story.sign(ada, grant_id, payload)

        def sign(grant_id=grant_id, payload=payload, label=label, late=late) -> str:
            time.sleep(draw.uniform(0, late["sign"]))
            try:
                return parlour.story.sign(label, grant_id, payload)
            except ConsentRevoked:
                return "refused"

        def discard(draft=draft, late=late) -> str:
            time.sleep(draw.uniform(0, late["discard"]))
            try:
                parlour.discard(draft)
            except VersionGranted:
                return "granted"
            return "discarded"

        ends = tuple(at_once([sign, discard]))
        with parlour.database.snapshot() as session:
            state = session.get_one(Grant, grant_id).state
            version = get_version(session, draft.template_id, 1)
            assert (version.discarded_at is None) == (state == "open")
        assert (*ends, state) in {
            ("open", "granted", "open"),
            ("refused", "discarded", "revoked"),
        }
        outcomes.add(state)
    assert outcomes == {"open", "revoked"}, "the race was never a race"


@SQLITE
def test_a_crash_leaves_nothing_deliverable_and_a_sweep_finishes(
    parlour: Parlour, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = parlour.draft()
    job_id = parlour.preview(draft)
    file = parlour.publish(job_id)
    parlour.discard(draft)
    genuine = ObjectStore.delete

    def away(_store: ObjectStore, _digest: str) -> None:
        raise OSError("the store is away")

    monkeypatch.setattr(ObjectStore, "delete", away)
    assert parlour.sweep() == 0
    assert parlour.objects.exists(file.sha256)
    assert parlour.row(job_id).swept_at is None
    with pytest.raises(PreviewGone):
        hear(parlour, draft, job_id)

    def killed(store: ObjectStore, digest: str) -> None:
        genuine(store, digest)
        raise KeyboardInterrupt

    monkeypatch.setattr(ObjectStore, "delete", killed)
    with pytest.raises(KeyboardInterrupt):
        parlour.sweep()
    assert parlour.row(job_id).swept_at is None
    assert parlour.job(job_id).result is not None, "the rows were rolled back"
    with pytest.raises(PreviewGone):
        hear(parlour, draft, job_id)
    monkeypatch.setattr(ObjectStore, "delete", genuine)
    assert parlour.sweep() == 1
    assert list(parlour.objects.digests()) == []


@SQLITE
def test_the_relay_sweeps_what_is_left(parlour: Parlour) -> None:
    draft = parlour.draft()
    file = parlour.publish(parlour.preview(draft))
    parlour.discard(draft)
    stop = threading.Event()
    done = []

    def chore() -> None:
        done.append(parlour.sweep())
        stop.set()

    run_relay(parlour.database, parlour.settings, Silent(), stop, queues=(), chores=[chore])
    assert done == [1]
    assert not parlour.objects.exists(file.sha256)


class Silent:
    """A broker with nothing in it."""

    def ring(self, queue: str, task: str, job_id: str) -> None:
        raise AssertionError("nothing is owed")

    def depth(self, queue: str) -> int:
        return 0


def test_what_another_rests_on_stays_until_it_goes_too(parlour: Parlour) -> None:
    """Two versions' previews and a remix made the same mix; each in turn lets go of it."""
    draft = parlour.draft()
    second = parlour.story.version(draft.owners[0], draft.template_id)
    other = Draft(draft.owners, draft.track_id, draft.template_id, second)
    jobs = [parlour.preview(draft), parlour.preview(other)]
    shared = parlour.artefact(parlour.permit(jobs[0], "mix"), "mix", "the same")
    remix = parlour.ask(parlour.grant())
    with parlour.database.transaction() as session:
        for job_id in (*jobs, remix):
            session.get_one(Job, job_id).artefacts = {"separate": "aa", "mix": shared}
    parlour.discard(draft)
    parlour.sweep()
    assert parlour.objects.exists(shared)
    assert parlour.job(jobs[0]).artefacts == {"separate": "aa"}
    parlour.discard(other)
    parlour.sweep()
    assert parlour.objects.exists(shared), "a remix still rests on it"
    with parlour.database.transaction() as session:
        session.get_one(Job, remix).artefacts = {}
    third = parlour.story.version(draft.owners[0], draft.template_id)
    last = Draft(draft.owners, draft.track_id, draft.template_id, third)
    job_id = parlour.preview(last)
    with parlour.database.transaction() as session:
        session.get_one(Job, job_id).artefacts = {"mix": shared}
    parlour.discard(last)
    parlour.sweep()
    assert not parlour.objects.exists(shared)


def test_two_sweepers_leave_nothing_behind(
    parlour: Parlour, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Previews that share a mix, swept at once: whoever is last deletes it."""
    genuine = retention.release_objects

    @contextmanager
    def slow() -> Iterator[None]:
        yield
        time.sleep(0.02)

    def released(session, objects, digests) -> None:
        with slow():
            genuine(session, objects, digests)

    monkeypatch.setattr(sweeping, "release_objects", released)
    draft = parlour.draft()
    jobs = [parlour.preview(draft, seed=seed) for seed in range(4)]
    shared = parlour.artefact(parlour.permit(jobs[0], "mix"), "mix", "the same")
    with parlour.database.transaction() as session:
        for job_id in jobs:
            session.get_one(Job, job_id).artefacts = {"mix": shared}
    parlour.discard(draft)

    def one(job_id: str) -> bool:
        with parlour.database.transaction() as session:
            return sweeping._sweep_one(session, parlour.objects, job_id)

    assert all(at_once([lambda job_id=job_id: one(job_id) for job_id in jobs]))
    assert list(parlour.objects.digests()) == []
    assert parlour.count(Artefact) == 0


@SQLITE
def test_one_deleted_preview_goes_alone(parlour: Parlour) -> None:
    draft = parlour.draft()
    one, two, running = (parlour.preview(draft, seed=seed) for seed in range(3))
    first, second = parlour.publish(one), parlour.publish(two)
    parlour.at_publish(running)
    for job_id in (one, running):
        parlour.delete(job_id, draft.owners[1].principal)
        parlour.delete(job_id, draft.owners[0].principal)
    assert parlour.row(one).removed_by == draft.owners[1].principal.subject
    assert (parlour.job(one).state, parlour.job(running).state) == (
        JobState.PUBLISHED,
        JobState.CANCELLED,
    )
    assert parlour.sweep() == 2
    assert not parlour.objects.exists(first.sha256)
    assert parlour.objects.exists(second.sha256)
    hear(parlour, draft, two)
    with pytest.raises(PreviewGone):
        hear(parlour, draft, one)
