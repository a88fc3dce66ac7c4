"""A new track is compared with all that is kept, however much that is and whatever comes meanwhile.

The long comparison runs under no lock; these tests put what may happen between it and the lock.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from sqlalchemy import func, select

from service.database import Database
from service.ingestion.fingerprints import Compared, hold_fingerprints
from service.ingestion.settling import accept_audio, compare_audio
from service.recognition import matching
from service.recognition.index import index_recordings
from service.recognition.keeping import forget_track, keep_remix, keep_track
from service.recognition.landmarks import Landmarks
from service.recognition.models import Postings, Recording
from service.recognition.packing import pack_landmarks
from tests.jobs_house import at_once
from tests.service.ingestion.test_disputes import (
    OPERATOR,
    all_disputes,
    permit_of,
    settle,
    sound,
    track,
)
from tests.service.recognition.test_matching import remix_job
from tests.stories import Owner, Story

POSTGRES = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
SECONDS = 20.0


def arriving(story: Story, owner: Owner) -> str:
    track_id = story.track(owner)
    story.set_track(track_id, state="ingesting", audio_sha256=None)
    return track_id


def compared(story: Story, track_id: str, landmarks: Landmarks) -> Compared:
    with story.database.snapshot() as session:
        return compare_audio(
            session,
            permit_of(track_id),
            audio_sha256="none",
            duration_seconds=SECONDS,
            landmarks=landmarks,
        )


def accept(story: Story, track_id: str, landmarks: Landmarks, before: Compared) -> str:
    with story.database.transaction() as session:
        accept_audio(
            session,
            permit_of(track_id),
            audio_sha256=uuid4().hex * 2,
            stems={},
            duration_seconds=SECONDS,
            sample_rate=44_100,
            channels=2,
            landmarks=landmarks,
            compared=before,
        )
    return track(story, track_id).state


def publish(story: Story, track_id: str, landmarks: Landmarks) -> None:
    """A remix of the track that sounds like this."""
    job_id = remix_job(story, track_id)
    with story.database.transaction() as session:
        packed = pack_landmarks(landmarks)
        keep_remix(session, job_id, track_id, packed, len(landmarks), SECONDS)


def remix_of(landmarks: Landmarks, seed: int) -> Landmarks:
    """Two thirds of it, and as much that is new."""
    kept = [mark for number, mark in enumerate(landmarks) if number % 3]
    return sorted({*kept, *sound(seed)[::3]})


@pytest.mark.attack("another's copy of a recording")
def test_a_copy_among_many_that_the_index_does_not_know_is_found(story: Story) -> None:
    ada, eve = story.owner("Ada"), story.owner("Eve")
    crowd = [story.track(ada, seconds=SECONDS) for _ in range(matching.MOST_UNINDEXED + 6)]
    with story.database.transaction() as session:
        for number, track_id in enumerate(crowd):
            keep_track(session, track_id, sound(100 + number)[:60], SECONDS)
    first, last = sound(1), sound(2)
    originals = {settle(story, ada, first), settle(story, ada, last)}
    copies = [settle(story, eve, each) for each in (first, last)]
    assert [track(story, each).state for each in copies] == ["held"] * 2
    assert {each.earlier_track_id for each in all_disputes(story, OPERATOR)} == originals
    index_recordings(story.database)
    again = settle(story, eve, first)
    assert track(story, again).state == "held"


@pytest.mark.attack("another's copy of a recording")
def test_nobody_hides_a_copy_behind_ones_own_recordings(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than verification compares, each with more votes than the recording that was taken."""
    monkeypatch.setattr(matching, "MOST_COMPARED", 2)
    ada, eve = story.owner("Ada"), story.owner("Eve")
    song = sound(1)
    original = settle(story, ada, song)
    noises = [sound(10 + number, SECONDS * 3) for number in range(3)]
    noises = [[(value, frame // 3) for value, frame in noise] for noise in noises]
    for noise in noises:
        assert track(story, settle(story, eve, sorted(noise))).state == "ready"
    index_recordings(story.database)
    mixture = sorted({*song, *(mark for noise in noises for mark in noise[::2])})
    assert track(story, settle(story, eve, mixture)).state == "held"
    (dispute,) = all_disputes(story, OPERATOR)
    assert dispute.earlier_track_id == original


@pytest.mark.attack("another's copy of a recording")
def test_copies_that_were_compared_before_either_was_kept_find_each_other(story: Story) -> None:
    owners = [story.owner(f"Owner {n}") for n in range(3)]
    tracks = [arriving(story, owner) for owner in owners]
    before = [compared(story, track_id, sound(1)) for track_id in tracks]
    assert [each.like for each in before] == [[]] * 3
    at_once(
        [
            lambda t=track_id, b=each: accept(story, t, sound(1), b)  # type: ignore[misc]
            for track_id, each in zip(tracks, before, strict=True)
        ]
    )
    assert sorted(track(story, each).state for each in tracks) == ["held", "held", "ready"]


@pytest.mark.attack("another's copy of a recording")
def test_the_indexer_beside_neither_hides_a_copy_nor_adds_twice(story: Story) -> None:
    owners = [story.owner(f"Owner {n}") for n in range(4)]
    tracks = [arriving(story, owner) for owner in owners]
    done = threading.Event()

    def index() -> int:
        total = 0
        while not done.is_set():
            total += index_recordings(story.database)
        return total + index_recordings(story.database)

    with ThreadPoolExecutor(1) as pool:
        indexed = pool.submit(index)
        try:
            at_once(
                [
                    lambda t=each: accept(  # type: ignore[misc]
                        story, t, sound(1), compared(story, t, sound(1))
                    )
                    for each in tracks
                ]
            )
        finally:
            done.set()
        assert indexed.result() == 4
    assert sorted(track(story, t).state for t in tracks) == ["held", "held", "held", "ready"]
    assert total_of(story.database, Recording.landmark_count) == total_of(
        story.database, Postings.length
    )


@POSTGRES
@pytest.mark.attack("another's copy of a recording")
def test_a_remix_that_is_kept_sooner_hides_no_copy(story: Story) -> None:
    """Its number is higher than a track's that is not committed yet."""
    ada, eve = story.owner("Ada"), story.owner("Eve")
    song = sound(1)
    granted = story.track(ada)
    original, copy = arriving(story, ada), arriving(story, eve)
    with story.database.transaction() as session:
        hold_fingerprints(session)
        keep_track(session, original, song, SECONDS)
        publish(story, granted, sound(5))
        before = compared(story, copy, song)
    story.set_track(original, state="ready")
    assert accept(story, copy, song, before) == "held"


def test_a_track_that_was_released_meanwhile_holds(story: Story) -> None:
    ada, eve = story.owner("Ada"), story.owner("Eve")
    original, copy = settle(story, ada, sound(1)), arriving(story, eve)
    story.set_track(original, state="held")
    before = compared(story, copy, sound(1))
    story.set_track(original, state="ready")
    assert accept(story, copy, sound(1), before) == "held"


def test_a_track_that_was_rejected_meanwhile_holds_no_more(story: Story) -> None:
    """Nor where it was sent again since, with another recording."""
    ada, eve = story.owner("Ada"), story.owner("Eve")
    original, copy = settle(story, ada, sound(1)), arriving(story, eve)
    before = compared(story, copy, sound(1))
    assert len(before.like) == 1
    with story.database.transaction() as session:
        forget_track(session, original)
        keep_track(session, original, sound(2), SECONDS)
    assert accept(story, copy, sound(1), before) == "ready"


@pytest.mark.attack("another's copy of a recording")
def test_what_came_in_a_forgotten_ones_place_is_compared(story: Story) -> None:
    """The newest recording goes and a copy comes: it has a number of its own, and is newer."""
    ada, bo, eve = story.owner("Ada"), story.owner("Bo"), story.owner("Eve")
    gone, copy = settle(story, ada, sound(9)), arriving(story, eve)
    before = compared(story, copy, sound(1))
    with story.database.transaction() as session:
        forget_track(session, gone)
    original = settle(story, bo, sound(1))
    assert accept(story, copy, sound(1), before) == "held"
    assert [each.earlier_track_id for each in all_disputes(story, eve.principal)] == [original]


@pytest.mark.attack("another's copy of a recording")
def test_a_remix_that_a_stranger_sends_as_an_original_is_held(story: Story) -> None:
    """For the owners of the track that it was made of, however little is left of the track."""
    ada, eve = story.owner("Ada"), story.owner("Eve")
    song = sound(1)
    original = settle(story, ada, song)
    made = sorted({*song[::8], *sound(2)})
    publish(story, original, made)
    for _ in range(2):
        sent = settle(story, eve, made)
        assert track(story, sent).state == "held"
        dispute = next(d for d in all_disputes(story, eve.principal) if d.track_id == sent)
        assert (dispute.earlier_track_id, dispute.kind) == (original, "sound")
        assert dispute.score > 0.9
        index_recordings(story.database)
    # Its own owner may send it, and is told.
    mine = settle(story, ada, made)
    assert (track(story, mine).state, track(story, mine).duplicate_of) == ("ready", original)


def test_a_track_and_its_remixes_are_one_match(story: Story) -> None:
    ada, eve = story.owner("Ada"), story.owner("Eve")
    song = sound(1)
    original = settle(story, ada, song)
    for seed in (2, 3):
        publish(story, original, remix_of(song, seed))
    settle(story, eve, song)
    (dispute,) = all_disputes(story, eve.principal)
    assert (dispute.earlier_track_id, dispute.score) == (original, 1.0)


def test_remixes_of_what_was_anothers_count_for_nobody(story: Story) -> None:
    """The track was rejected and sent anew: what was published of it before is not its own."""
    ada, eve = story.owner("Ada"), story.owner("Eve")
    song = sound(1)
    stolen = settle(story, eve, song)
    publish(story, stolen, remix_of(song, 2))
    with story.database.transaction() as session:
        forget_track(session, stolen)
        keep_track(session, stolen, sound(3), SECONDS)
    assert track(story, settle(story, ada, song)).state == "ready"


def total_of(database: Database, column: object) -> int:
    with database.snapshot() as session:
        return session.scalar(select(func.sum(column))) or 0  # type: ignore[arg-type]
