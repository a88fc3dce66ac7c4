"""A track that sounds like another party's is held; the other goes on, and somebody decides."""

import io
import random
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest
import soundfile
from sqlalchemy import func, select

from service.auth import Principal
from service.catalog.models import Track
from service.consent.refusals import TrackHeld
from service.errors import NotFound
from service.ingestion import disputes
from service.ingestion.deciding import Decision, DecisionNotYours, DisputeSettled
from service.ingestion.models import Dispute
from service.ingestion.refusals import TrackSettled
from service.ingestion.settling import accept_audio, begin
from service.permit import Permit
from service.recognition.landmarks import FRAMES_PER_SECOND, Landmarks
from service.recognition.models import Recording
from service.storage import ObjectStore
from service.takedown.disputes import decide as decide_dispute
from tests.stories import Owner, Story

OPERATOR = Principal(subject="op", role="operator")
sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def sound(seed: int, seconds: float = 20.0) -> Landmarks:
    """Landmarks as a recording of its own would have them."""
    drawn = random.Random(seed)
    frames = int(seconds * FRAMES_PER_SECOND)
    found = {
        ((drawn.randrange(1 << 18) << 6) | drawn.randint(2, 62), drawn.randrange(frames))
        for _ in range(int(seconds * 20))
    }
    return sorted(found)


def late(landmarks: Landmarks, frames: int) -> Landmarks:
    """The same recording with so much cut off its start."""
    return [(value, frame - frames) for value, frame in landmarks if frame >= frames]


def settle(
    story: Story, owner: Owner, landmarks: Landmarks, audio: str | None = None, *more: Owner
) -> str:
    """A new track of the owner's through the end of its ingestion; gives its id."""
    track_id = story.track(owner, *more)
    story.set_track(track_id, state="ingesting", audio_sha256=None)
    ingest(story, track_id, landmarks, audio)
    return track_id


def permit_of(track_id: str) -> Permit:
    """What the gate gives a worker that ingests the track."""
    return Permit(
        purpose="ingest",
        stage="ingest",
        track_id=track_id,
        subject="s",
        job_id="job",
        token_id="tok",
        grant_id=None,
        generation=None,
        checkpoints={},
        valid_until=datetime.now(UTC) + timedelta(minutes=5),
    )


def ingest(story: Story, track_id: str, landmarks: Landmarks, audio: str | None = None) -> None:
    with story.database.transaction() as session:
        accept_audio(
            session,
            permit_of(track_id),
            audio_sha256=audio or uuid4().hex * 2,
            stems={},
            duration_seconds=20.0,
            sample_rate=44_100,
            channels=2,
            landmarks=landmarks,
        )


def track(story: Story, track_id: str) -> Track:
    with story.database.snapshot() as session:
        found = session.get_one(Track, track_id)
        session.expunge(found)
        return found


def all_disputes(story: Story, who: Principal) -> list[Dispute]:
    with story.database.snapshot() as session:
        found = disputes.list_disputes(session, who, open_only=False, limit=100, offset=0)
        session.expunge_all()
        return list(found)


@pytest.fixture
def objects(settings: Any) -> ObjectStore:
    return ObjectStore(settings.objects)


def decide(
    story: Story,
    objects: ObjectStore,
    who: Principal,
    dispute: Dispute,
    decision: Decision,
) -> str:
    with story.database.transaction() as session:
        return decide_dispute(
            session, objects, who, dispute.id, decision, "They sent the contract"
        ).state


@pytest.mark.attack("another's copy of a recording")
def test_another_partys_copy_is_held_and_the_original_goes_on(story: Story) -> None:
    ada, eve = story.owner("Ada"), story.owner("Eve")
    song = sound(1)
    original = settle(story, ada, song)
    copy = settle(story, eve, late(song, 200))
    assert (track(story, original).state, track(story, copy).state) == ("ready", "held")
    assert track(story, copy).duplicate_of is None
    (dispute,) = all_disputes(story, eve.principal)
    assert (dispute.track_id, dispute.earlier_track_id) == (copy, original)
    assert (dispute.kind, dispute.state) == ("sound", "open")
    assert dispute.score > 0.9
    assert dispute.offset_seconds == pytest.approx(200 / FRAMES_PER_SECOND, abs=0.05)
    assert [d.id for d in all_disputes(story, ada.principal)] == [dispute.id]
    assert [d.id for d in all_disputes(story, OPERATOR)] == [dispute.id]
    template = story.template(ada, original)
    grant_id, payload = story.grant(ada, template)
    assert story.sign(ada, grant_id, payload) == "open"


@sqlite_only
@pytest.mark.attack("another's copy of a recording")
def test_nobody_grants_a_held_track(story: Story) -> None:
    ada, eve = story.owner("Ada"), story.owner("Eve")
    settle(story, ada, sound(1))
    copy = settle(story, eve, sound(1))
    with pytest.raises(TrackHeld) as refusal:
        story.grant(eve, story.template(eve, copy))
    assert refusal.value.slug == "track-held"
    assert refusal.value.document()["limit"]
    assert "operator" in refusal.value.document()["changed_by"]
    with story.database.transaction() as session, pytest.raises(TrackSettled, match="held"):
        begin(session, story.keys, story.settings, eve.principal, copy)


@sqlite_only
def test_the_very_same_bytes_of_another_party_are_a_dispute_too(story: Story) -> None:
    """Even where there is nothing to fingerprint."""
    ada, eve = story.owner("Ada"), story.owner("Eve")
    settle(story, ada, [], "ab" * 32)
    copy = settle(story, eve, [], "ab" * 32)
    (dispute,) = all_disputes(story, eve.principal)
    assert (dispute.kind, dispute.score, dispute.track_id) == ("bytes", 1.0, copy)
    assert track(story, copy).state == "held"


@sqlite_only
def test_the_same_owner_is_told_and_not_held(story: Story) -> None:
    ada, label = story.owner("Ada"), story.owner("Label", "label")
    first = settle(story, ada, sound(1))
    again = settle(story, label, sound(1), None, ada)
    assert (track(story, again).state, track(story, again).duplicate_of) == ("ready", first)
    assert all_disputes(story, OPERATOR) == []


@sqlite_only
def test_another_song_is_neither(story: Story) -> None:
    ada, eve = story.owner("Ada"), story.owner("Eve")
    settle(story, ada, sound(1))
    other = settle(story, eve, sound(2))
    assert (track(story, other).state, track(story, other).duplicate_of) == ("ready", None)


@sqlite_only
def test_a_held_track_holds_nobody_elses(story: Story) -> None:
    """Else whoever is in the wrong could drag the next one in."""
    ada, eve, omar = story.owner("Ada"), story.owner("Eve"), story.owner("Omar")
    original = settle(story, ada, sound(1))
    settle(story, eve, sound(1))
    third = settle(story, omar, sound(1))
    assert [d.earlier_track_id for d in all_disputes(story, omar.principal)] == [original]
    assert track(story, third).state == "held"


@sqlite_only
def test_ones_own_weaker_likeness_is_no_pass(story: Story) -> None:
    """A track of one's own that is a little like another's does not let the other's in."""
    ada, eve = story.owner("Ada"), story.owner("Eve")
    song, noise = sound(1), sound(7)
    settle(story, ada, song)
    # A sixth of it is Ada's: too little to be held, and what comes next is like both.
    mixture = settle(story, eve, sorted({*song[::6], *noise}))
    assert track(story, mixture).state == "ready"
    copy = settle(story, eve, sorted({*song, *noise[::2]}))
    assert (track(story, copy).state, track(story, copy).duplicate_of) == ("held", mixture)


def test_an_owner_of_the_earlier_track_releases_it(story: Story, objects: ObjectStore) -> None:
    ada, eve, omar = story.owner("Ada"), story.owner("Eve"), story.owner("Omar")
    settle(story, ada, sound(1))
    copy = settle(story, eve, sound(1))
    (dispute,) = all_disputes(story, eve.principal)
    with pytest.raises(NotFound):
        decide(story, objects, omar.principal, dispute, "release")
    for who, decision in ((eve, "release"), (eve, "reject"), (ada, "reject")):
        with pytest.raises(DecisionNotYours):
            decide(story, objects, who.principal, dispute, decision)  # type: ignore[arg-type]
    assert track(story, copy).state == "held"
    assert decide(story, objects, ada.principal, dispute, "release") == "released"
    assert track(story, copy).state == "ready"
    with pytest.raises(DisputeSettled):
        decide(story, objects, OPERATOR, dispute, "reject")
    assert track(story, copy).state == "ready"
    assert all_disputes(story, eve.principal)[0].reason == "They sent the contract"
    # Allowed once, the same recording of Eve's is not held against her again.
    assert track(story, settle(story, eve, sound(1))).state == "ready"


@sqlite_only
def test_two_disputes_need_two_releases(story: Story, objects: ObjectStore) -> None:
    ada, bo, eve = story.owner("Ada"), story.owner("Bo"), story.owner("Eve")
    settle(story, ada, sound(1))
    settle(story, bo, sound(1))
    (first,) = all_disputes(story, bo.principal)
    decide(story, objects, ada.principal, first, "release")
    copy = settle(story, eve, sound(1))
    waiting = all_disputes(story, eve.principal)
    assert len(waiting) == 2
    for dispute, state in zip(waiting, ("held", "ready"), strict=True):
        decide(story, objects, OPERATOR, dispute, "release")
        assert track(story, copy).state == state


def test_an_operator_rejects_and_its_audio_goes(story: Story, objects: ObjectStore) -> None:
    ada, bo, eve = story.owner("Ada"), story.owner("Bo"), story.owner("Eve")
    settle(story, ada, sound(1))
    settle(story, bo, sound(1))
    (first,) = all_disputes(story, bo.principal)
    decide(story, objects, OPERATOR, first, "release")
    copy = settle(story, eve, sound(1))
    one, two = all_disputes(story, eve.principal)
    assert decide(story, objects, OPERATOR, one, "reject") == "rejected"
    assert [d.state for d in all_disputes(story, eve.principal)] == ["rejected"] * 2
    with pytest.raises(DisputeSettled):
        decide(story, objects, OPERATOR, two, "release")
    gone = track(story, copy)
    assert (gone.state, gone.audio_sha256, gone.duration_seconds) == ("rejected", None, None)
    assert gone.problem is not None
    assert gone.problem["type"] == "/problems/track-disputed"
    assert "They sent the contract" in gone.problem["detail"]
    with story.database.snapshot() as session:
        left = select(func.count()).select_from(Recording).where(Recording.track_id == copy)
        assert session.scalar(left) == 0
    # Sent again, it is held again, and the first decision stays on record.
    story.set_track(copy, state="ingesting")
    ingest(story, copy, sound(1))
    assert track(story, copy).state == "held"
    assert len(all_disputes(story, eve.principal)) == 4


@pytest.mark.attack("another's copy of a recording")
def test_copies_that_come_at_once_find_each_other(story: Story) -> None:
    owners = [story.owner(f"Owner {n}") for n in range(4)]
    tracks = [story.track(owner) for owner in owners]
    for track_id in tracks:
        story.set_track(track_id, state="ingesting", audio_sha256=None)
    ready = threading.Barrier(len(tracks))

    def run(track_id: str) -> None:
        ready.wait()
        ingest(story, track_id, sound(1))

    threads = [threading.Thread(target=run, args=(track_id,)) for track_id in tracks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(track(story, t).state for t in tracks) == ["held", "held", "held", "ready"]
    assert len(all_disputes(story, OPERATOR)) == 3


@pytest.fixture(scope="module")
def shared_studio(tmp_path_factory: pytest.TempPathFactory, studio_class: Any) -> Iterator[Any]:
    from service.settings import Settings

    made = studio_class(Settings(home=tmp_path_factory.mktemp("home"), max_track_seconds=30.0))
    yield made
    made.close()


def wav(seed: int, gain: float = 1.0, skip: int = 0) -> bytes:
    """Eight seconds of struck tones as a WAV file."""
    drawn, rate = np.random.default_rng(seed), 44_100
    out = np.zeros(8 * rate)
    moment = np.arange(rate // 2) / rate
    for at in range(0, out.size - moment.size, rate // 8):
        pitch = float(drawn.uniform(120, 4000))
        out[at : at + moment.size] += np.sin(2 * np.pi * pitch * moment) * np.exp(-8 * moment)
    sink = io.BytesIO()
    stereo = np.stack([0.2 * gain * out[skip:]] * 2, axis=1)
    soundfile.write(sink, stereo, rate, format="WAV", subtype="FLOAT")
    return sink.getvalue()


Send = Callable[[httpx.Client, str, bytes], dict[str, Any]]


def test_from_the_file_to_the_decision_over_http(studio: Any) -> None:
    eve, operator = studio.client("artist", "eve"), studio.client("operator", "op")
    party = studio.register(eve, "Eve")
    stranger = studio.client("artist", "omar")
    studio.register(stranger, "Omar")

    def upload(client: httpx.Client, owner: str, content: bytes) -> dict[str, Any]:
        shares = [{"party_id": owner, "ppm": 1_000_000}]
        body = {"title": "Paper Lanterns", "artist": "Me", "shares": shares}
        made = client.post("/v1/tracks", json=body).json()
        client.put(f"/v1/tracks/{made['id']}/audio", content=content)
        client.post(f"/v1/tracks/{made['id']}/ingest")
        studio.work()
        return dict(client.get(f"/v1/tracks/{made['id']}").json())

    mine = upload(studio.artist, studio.party_id, wav(1))
    assert (mine["state"], mine["duplicate_of"]) == ("ready", None)
    again = upload(studio.artist, studio.party_id, wav(1, gain=0.5))
    assert (again["state"], again["duplicate_of"]) == ("ready", mine["id"])
    taken = upload(eve, party, wav(1, gain=0.3, skip=40_000))
    assert (taken["state"], taken["duplicate_of"]) == ("held", None)
    other = upload(eve, party, wav(2))
    assert other["state"] == "ready"
    listed = eve.get("/v1/disputes", params={"open": True}).json()["items"]
    assert {item["earlier_track"]["id"] for item in listed} == {mine["id"], again["id"]}
    assert studio.artist.get("/v1/disputes").json()["items"] == listed
    assert stranger.get("/v1/disputes").json() == {"items": []}
    path = f"/v1/disputes/{listed[0]['id']}"
    assert stranger.get(path).status_code == 404
    refused = stranger.post(f"{path}/decision", json={"decision": "release", "reason": "Because!"})
    assert refused.status_code == 404
    for body in ({"decision": "release"}, {"decision": "keep", "reason": "A good reason"}):
        assert operator.post(f"{path}/decision", json=body).status_code == 422
    mine_to_say = {"decision": "release", "reason": "It is mine, believe me"}
    assert eve.post(f"{path}/decision", json=mine_to_say).json()["type"] == (
        "/problems/decision-not-yours"
    )
    before = set(studio.objects.digests())
    verdict = {"decision": "reject", "reason": "Registered by An Artist in 2019"}
    decided = operator.post(f"{path}/decision", json=verdict)
    assert decided.json()["state"] == "rejected", decided.text
    gone = eve.get(f"/v1/tracks/{taken['id']}").json()
    assert gone["state"] == "rejected"
    assert "2019" in gone["problem"]["detail"]
    assert set(studio.objects.digests()) < before
    heard = studio.artist.get(f"/v1/tracks/{mine['id']}/audio")
    assert heard.status_code == 200
    assert eve.get("/v1/disputes", params={"open": True}).json() == {"items": []}
