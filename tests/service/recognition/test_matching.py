"""A sound among recordings: found whatever was done to it, and nothing else is; bounded."""

import random
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import numpy as np
import pytest
import soxr
from sqlalchemy import select, update

from service.bench.recognising import copy_of, made_up
from service.database import Database, now
from service.jobs.models import Job
from service.recognition import index, matching
from service.recognition.index import MOST_POSTINGS, PAIR, index_recordings
from service.recognition.keeping import forget_track, keep_remix, keep_track
from service.recognition.landmarks import RATE as LANDMARK_RATE
from service.recognition.landmarks import Landmarks
from service.recognition.matching import Similar, candidates, find_similar
from service.recognition.measuring import measure
from service.recognition.models import Postings, Recording
from service.recognition.packing import columns, pack_landmarks, unpack_landmarks
from tests.songs import RATE, SECONDS, Samples, song, through_aac, through_mp3
from tests.stories import Story

ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def landmarks_of(samples: Samples, rate: int = RATE) -> Landmarks:
    return measure(np.asarray(soxr.resample(samples, rate, LANDMARK_RATE), dtype=np.float32))


def pairs_of(marks: np.ndarray) -> Landmarks:
    return [(int(value), int(frame)) for value, frame in marks]


def find(database: Database, landmarks: Landmarks, seconds: float) -> list[Similar]:
    with database.snapshot() as session:
        return find_similar(session, landmarks, seconds)


def keep(story: Story, landmarks: Landmarks, seconds: float = SECONDS) -> str:
    """A track that sounds like this; gives its id."""
    track_id = story.track(story.owner("Ada"), seconds=seconds)
    with story.database.transaction() as session:
        keep_track(session, track_id, landmarks, seconds)
    return track_id


@ONE
def test_a_song_is_found_through_codecs_gain_crops_and_other_rates(story: Story) -> None:
    original = song(1)
    track_id = keep(story, landmarks_of(original))
    for other in (2, 3):
        keep(story, landmarks_of(song(other)))
    index_recordings(story.database)
    ten = original[7 * RATE : 17 * RATE]
    copies = {
        "MP3 at 128 kbit/s": (through_mp3(original), RATE, 0.0),
        "AAC at 96 kbit/s": (through_aac(original), RATE, 0.0),
        "20 dB quieter": (original * 0.1, RATE, 0.0),
        "ten seconds": (ten, RATE, 7.0),
        "ten seconds of MP3": (through_mp3(ten), RATE, 7.0),
        "three seconds": (original[9 * RATE : 12 * RATE], RATE, 9.0),
        "48 kHz": (soxr.resample(original, RATE, 48_000), 48_000, 0.0),
        "22.05 kHz": (soxr.resample(original, RATE, 22_050), 22_050, 0.0),
    }
    for name, (samples, rate, offset) in copies.items():
        (similar,) = find(story.database, landmarks_of(samples, rate), len(samples) / rate)
        assert similar.track_id == track_id, name
        assert similar.best.job_id is None
        assert similar.best.offset_seconds == pytest.approx(offset, abs=0.08), name
    for stranger in range(4, 9):
        assert find(story.database, landmarks_of(song(stranger)), SECONDS) == [], stranger


def test_it_is_found_before_and_after_the_index_knows_it(story: Story) -> None:
    seconds = 60.0
    tracks = [keep(story, pairs_of(made_up(number, seconds)), seconds) for number in range(4)]
    draw = random.Random(5)
    for _ in range(2):
        sound = copy_of(made_up(2, seconds), seconds, (20.0, 35.0), draw)
        (similar,) = find(story.database, pairs_of(sound), 15.0)
        assert similar.track_id == tracks[2]
        assert similar.best.offset_seconds == pytest.approx(20.0, abs=0.05)
        stranger = copy_of(made_up(99, seconds), seconds, (20.0, 35.0), draw)
        assert find(story.database, pairs_of(stranger), 15.0) == []
        index_recordings(story.database)
    with story.database.snapshot() as session:
        assert session.scalars(select(Recording.indexed_at)).all().count(None) == 0


def test_siblings_are_candidates_of_one_track_and_none_is_certain(story: Story) -> None:
    """Remixes of one track share three stems of four: here all that is kept is two thirds."""
    granted = story.granted()
    seconds, base = 60.0, made_up(1, 60.0)
    with story.database.transaction() as session:
        keep_track(session, granted.track_id, pairs_of(base), seconds)
    draw = np.random.default_rng(1)
    jobs = [remix_job(story, granted.track_id) for _ in range(2)]
    for number, job_id in enumerate(jobs):
        mine = base.copy()
        new = draw.random(len(mine)) < 0.33
        mine[new] = made_up(50 + number, seconds)[: len(mine)][new]
        marks = sorted(set(pairs_of(mine)))
        with story.database.transaction() as session:
            keep_remix(
                session, job_id, granted.track_id, pack_landmarks(marks), len(marks), seconds
            )
    index_recordings(story.database)
    with story.database.snapshot() as session:
        query = select(Recording.landmarks).where(Recording.job_id == jobs[1])
        hashes, frames = unpack_landmarks(session.scalars(query).one())
    sound = list(zip(hashes.tolist(), frames.tolist(), strict=True))
    (similar,) = find(story.database, sound, seconds)
    assert similar.track_id == granted.track_id
    assert similar.best.job_id == jobs[1]
    assert {version.job_id for version in similar.versions} == {*jobs, None}
    assert all(version.score > 0.2 for version in similar.versions), "the sound alone cannot tell"


@ONE
def test_what_was_forgotten_is_not_found(story: Story) -> None:
    marks = pairs_of(made_up(1, 60.0))
    track_id = keep(story, marks, 60.0)
    index_recordings(story.database)
    assert find(story.database, marks, 60.0)
    with story.database.transaction() as session:
        forget_track(session, track_id)
    assert find(story.database, marks, 60.0) == []


@ONE
def test_silence_and_a_breath_are_nothing(story: Story) -> None:
    track_id = keep(story, [])
    assert find(story.database, [], 30.0) == []
    assert find(story.database, [(5 << 15 | 9 << 6 | 3, 1)], 0.1) == []
    with story.database.snapshot() as session:
        assert session.scalar(select(Recording).where(Recording.track_id == track_id)) is None


def test_a_hash_that_every_recording_has_is_not_read(story: Story) -> None:
    """However common one landmark is, its row stays bounded and answers stay right."""
    marks = pairs_of(made_up(1, 60.0))
    track_id = keep(story, marks, 60.0)
    index_recordings(story.database)
    common = np.zeros(MOST_POSTINGS, PAIR)
    with story.database.transaction() as session:
        hashes = session.scalars(select(Postings.hash)).all()
        session.execute(
            update(Postings)
            .where(Postings.hash.in_(hashes[::2]))
            .values(length=MOST_POSTINGS, pairs=common.tobytes())
        )
    (similar,) = find(story.database, marks, 60.0)
    assert similar.track_id == track_id
    again = keep(story, marks, 60.0)
    index_recordings(story.database)
    with story.database.snapshot() as session:
        assert max(session.scalars(select(Postings.length)).all()) == MOST_POSTINGS
    assert {each.track_id for each in find(story.database, marks, 60.0)} == {track_id, again}


@ONE
def test_a_thorough_question_finds_what_somebody_floods(story: Story) -> None:
    """Every hash of a recording is made a stop word: what stood there first is found all the same.

    A copy that comes then has no room in the index, and no need of it.
    """
    marks = pairs_of(made_up(1, 60.0))
    keep(story, marks, 60.0)
    index_recordings(story.database)
    with story.database.transaction() as session:
        (number,) = session.scalars(select(Recording.id)).all()
        for row in session.scalars(select(Postings)):
            more = np.zeros(MOST_POSTINGS - row.length, PAIR)
            more["recording"] = number + 1
            more["frame"] = np.arange(more.size) * 7 % 2_000
            row.pairs, row.length = row.pairs + more.tobytes(), MOST_POSTINGS
    assert find(story.database, marks, 60.0) == []
    with story.database.snapshot() as session:
        assert number in candidates(session, columns(marks), thorough=True)


def test_a_question_reads_a_bounded_number_of_rows(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "MOST_COMPARED", 2)
    marks = pairs_of(made_up(1, 60.0))
    for _ in range(5):
        keep(story, marks, 60.0)
    index_recordings(story.database)
    assert len(find(story.database, marks, 60.0)) == 2
    monkeypatch.setattr(matching, "MOST_PAIRS", 0)
    assert find(story.database, marks, 60.0) == []


def test_indexers_at_once_index_each_recording_once(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "BATCH", 2)
    for number in range(5):
        keep(story, pairs_of(made_up(number, 10.0)), 10.0)
    with ThreadPoolExecutor(3) as pool:
        done = sum(pool.map(lambda _: index_recordings(story.database, 2), range(3)))
    done += index_recordings(story.database)
    with story.database.snapshot() as session:
        total = sum(session.scalars(select(Recording.landmark_count)).all())
        assert done == 5
        assert sum(session.scalars(select(Postings.length)).all()) == total


@pytest.mark.parametrize(
    "packed", [b"", b"xyz", pack_landmarks([(1, 2)])[:-3]], ids=["empty", "other", "cut"]
)
def test_what_are_no_landmarks_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match="no landmarks"):
        unpack_landmarks(packed)


def test_landmarks_come_back_as_they_were() -> None:
    marks = sorted({*pairs_of(made_up(3, 10.0)), (0, 0), ((1 << 24) - 1, 70_000)})
    hashes, frames = unpack_landmarks(pack_landmarks(marks))
    assert list(zip(hashes.tolist(), frames.tolist(), strict=True)) == marks
    for wrong in ([(-1, 0)], [(1 << 24, 0)], [(0, -1)]):
        with pytest.raises(ValueError, match="24 bits"):
            pack_landmarks(wrong)


def remix_job(story: Story, track_id: str) -> str:
    job_id = f"job_{uuid4().hex}"
    with story.database.transaction() as session:
        session.add(
            Job(
                id=job_id,
                kind="remix",
                subject="lena",
                track_id=track_id,
                token="t",
                token_id=uuid4().hex,
                stage="separate",
                deadline=now(),
                audio_seconds=30.0,
            )
        )
    return job_id
