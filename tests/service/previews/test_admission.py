"""Who may preview what, and how many of a version: attacks on the self-grant."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from service.auth import Principal
from service.catalog.models import Track
from service.consent import job_tokens
from service.consent.models import GateDecision, Preview, QuotaUse
from service.consent.previews import release_place
from service.consent.refusals import PreviewsExhausted, TrackHeld, TrackNotReady
from service.consent.training import adapters
from service.database import now
from service.errors import NotFound, Problem
from service.jobs.finish import finish
from service.jobs.models import STAGES, Job, JobState, OutboxRow
from service.remixes.reading import own_remix, remixes_of
from service.remixes.submission import IdempotencyKeyReused
from service.royalties.models import Posting
from service.settings import Settings
from service.templates.choices import ChoiceOutsideTemplate
from tests.jobs_house import at_once
from tests.previews_house import Parlour
from tests.stories import Story

SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_an_owner_previews_a_draft_that_nobody_granted(parlour: Parlour) -> None:
    draft = parlour.draft()
    asker = draft.owners[1].principal
    job_id = parlour.preview(draft, asker, seed=None)
    job, row = parlour.job(job_id), parlour.row(job_id)
    assert (job.kind, job.grant_id, job.generation) == ("preview", None, None)
    assert (job.template_id, job.template_version) == (draft.template_id, 1)
    assert job.seed is not None, "the seed is drawn at admission"
    assert (row.party_id, row.track_id, row.counted) == (draft.owners[1].id, draft.track_id, True)
    claims = job_tokens.verify(parlour.keys, job.token, fresh=True)
    assert (claims.purpose, claims.grant, claims.tpl) == ("preview", None, f"{draft.template_id}@1")
    assert claims.stages == STAGES["preview"] == STAGES["remix"]
    with parlour.database.snapshot() as session:
        # It waits where the remixes do, and is nobody's remix and in no quota.
        assert session.scalars(select(OutboxRow.queue)).one() == "remix"
        assert session.scalar(select(func.count()).select_from(QuotaUse)) == 0
        assert remixes_of(session, asker, 10, 0) == []
        with pytest.raises(NotFound):
            own_remix(session, asker, job_id)
        decision = session.scalars(select(GateDecision).where(GateDecision.door == "preview")).one()
        assert (decision.opened, decision.job_id) == (True, job_id)
        assert (decision.template_id, decision.template_version) == (draft.template_id, 1)
        assert decision.grant_id is None


@SQLITE
def test_nobody_but_an_owner_previews(parlour: Parlour) -> None:
    draft = parlour.draft()
    seller, _ = draft.owners
    mallory = parlour.story.owner("Mallory")
    strangers = [
        mallory.principal,
        parlour.story.listener(),
        Principal(subject="op", role="operator"),
        Principal(subject="nobody", role="artist"),
    ]
    parlour.sell(draft.track_id, seller, parlour.story.owner("Buyer"))
    for who in [*strangers, seller.principal]:
        with pytest.raises(NotFound):
            parlour.preview(draft, who)
    with pytest.raises(NotFound):
        parlour.preview(draft, draft.owners[1].principal, version=2)
    assert parlour.count(Preview) == parlour.count(Job) == 0


@SQLITE
def test_the_terms_bind_a_preview(parlour: Parlour) -> None:
    draft = parlour.draft(redo_seconds={"min": 0, "max": 10})
    whole = {"redo": [{"start": 0, "end": 5}]}
    for outside in (
        {"style": "polka", **whole},
        {"tempo_percent": 11, **whole},
        {"key_semitones": -3, **whole},
        {"density": "busy", **whole},
        {"guidance": 9.0, **whole},
        {"redo": [{"start": 0, "end": 11}]},
        {},
    ):
        with pytest.raises(ChoiceOutsideTemplate):
            parlour.preview(draft, **outside)
    assert parlour.count(Preview) == parlour.count(Job) == 0
    parlour.preview(draft, **whole)


@SQLITE
def test_what_binds_listeners_only_does_not_bind_it(parlour: Parlour) -> None:
    draft = parlour.draft(
        quota_per_listener=1,
        quota_total=1,
        territories=["FR"],
        not_before=(now() + timedelta(days=30)).isoformat(),
    )
    assert len({parlour.preview(draft) for _ in range(3)}) == 3


@SQLITE
def test_a_track_that_is_held_or_has_no_audio_is_not_previewed(parlour: Parlour) -> None:
    """A held track may be another's recording: nobody makes anything of it meanwhile."""
    draft = parlour.draft()
    for state, refusal in (("held", TrackHeld), ("awaiting_audio", TrackNotReady)):
        parlour.story.set_track(draft.track_id, state=state)
        with pytest.raises(refusal) as refused:
            parlour.preview(draft)
        assert refused.value.document()["limit"]
    assert parlour.count(Preview) == 0


@SQLITE
def test_an_adapters_own_consent_is_asked(
    parlour: Parlour, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal of an adapter, whatever it is, shuts this door as it shuts the listeners'."""
    draft = parlour.draft(commercial=True)
    asked = []

    def consent_of(_session: object, _cards: object, track_id: str, *, commercial: bool) -> None:
        asked.append((track_id, commercial))
        raise adapters.AdapterNotYours("it was trained for others")

    monkeypatch.setattr(adapters, "consent_of", consent_of)
    with pytest.raises(adapters.AdapterNotYours):
        parlour.preview(draft)
    assert asked == [(draft.track_id, True)]
    assert parlour.count(Preview) == 0


def test_so_many_of_a_version_and_no_more(story: Story, settings: Settings, tmp_path) -> None:
    few = settings.model_copy(update={"previews_per_version": 3})
    parlour = Parlour(story, few, tmp_path)
    draft = parlour.draft()

    def ask() -> str | None:
        try:
            return parlour.preview(draft)
        except PreviewsExhausted as refusal:
            document = refusal.document()
            assert document["limit"] == "previews_per_version"
            assert "owner" in document["changed_by"]
            return None

    made = [job_id for job_id in at_once([ask] * 8) if job_id]
    assert len(made) == parlour.count(Preview) == parlour.count(Job) == 3
    # Another version has places of its own.
    second = story.version(draft.owners[0], draft.template_id)
    parlour.preview(draft, version=second)
    # What failed made nothing, so its place is free; twice is as good as once.
    with story.database.transaction() as session:
        assert finish(session, made[0], JobState.FAILED, "internal")
    with story.database.transaction() as session:
        release_place(session, made[0])
    assert ask()
    assert ask() is None
    # And so is a deleted one's.
    parlour.publish(made[1])
    assert ask() is None
    parlour.delete(made[1], draft.owners[1].principal)
    assert ask()
    assert ask() is None


@SQLITE
def test_one_key_makes_one_preview(parlour: Parlour) -> None:
    draft = parlour.draft()
    first = parlour.preview(draft, key="k", seed=None)
    assert parlour.preview(draft, key="k", seed=None) == first
    with pytest.raises(IdempotencyKeyReused):
        parlour.preview(draft, key="k", seed=8)
    parlour.story.version(draft.owners[0], draft.template_id)
    with pytest.raises(IdempotencyKeyReused):
        parlour.preview(draft, key="k", version=2, seed=None)
    assert parlour.count(Preview) == 1


@SQLITE
def test_nothing_is_left_where_the_queue_is_full(
    story: Story, settings: Settings, tmp_path
) -> None:
    full = settings.model_copy(update={"queue_limit_audio_seconds": 1.0})
    parlour = Parlour(story, full, tmp_path)
    draft = parlour.draft()
    with pytest.raises(Problem) as refusal:
        parlour.preview(draft, key="k")
    assert refusal.value.slug == "queue-full"
    assert parlour.count(Preview) == parlour.count(Job) == parlour.count(Posting) == 0
    with story.database.snapshot() as session:
        assert session.get_one(Track, draft.track_id).state == "ready"
