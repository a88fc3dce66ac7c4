"""Ingestion: from files to a ready track, or to a refusal that leaves nothing behind."""

import hashlib
import io
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service.catalog.models import Stem, Track
from service.errors import Problem
from service.jobs.finish import finish
from service.jobs.lease import StaleLease
from service.jobs.models import Job, JobState
from workers.ingest import ingest_track

Encode = Callable[..., bytes]
Music = NDArray[np.float32]


def refusal(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = dict(answer.json())
    assert document["type"] == f"/problems/{slug}"
    assert document["status"] == status
    return document


def samples_of(content: bytes) -> Music:
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    assert rate == 44_100
    return np.asarray(samples)


class TestAccepted:
    """Each of these leaves audio behind, so each has a studio of its own."""

    @pytest.fixture(scope="module")
    def shared_studio(self, tmp_path_factory: pytest.TempPathFactory, studio_class: Any) -> Any:
        from service.settings import Settings

        made = studio_class(Settings(home=tmp_path_factory.mktemp("home"), max_track_seconds=30.0))
        yield made
        made.close()

    def test_the_mix(self, studio: Any, music: Music, encode: Encode) -> None:
        studio.send(encode(music, subtype="FLOAT"))
        answer = studio.ingest()
        assert answer.status_code == 202
        assert answer.headers["Location"] == f"/v1/tracks/{studio.track_id}"
        assert answer.json()["state"] == "ingesting"
        track = studio.track()
        assert track["state"] == "ready"
        assert track["problem"] is None
        assert track["duration_seconds"] == 4.0
        assert (track["sample_rate"], track["channels"]) == (44_100, 2)
        heard = studio.artist.get(f"/v1/tracks/{studio.track_id}/audio")
        assert heard.status_code == 200
        assert heard.headers["content-type"] == "audio/wav"
        assert hashlib.sha256(heard.content).hexdigest() == track["audio_sha256"]
        assert np.array_equal(samples_of(heard.content), music)
        part = studio.artist.get(
            f"/v1/tracks/{studio.track_id}/audio", headers={"Range": "bytes=0-3"}
        )
        assert part.status_code == 206
        assert part.content == b"RIFF"
        job = studio.job()
        assert (job.state, job.kind) == ("published", "ingest")
        assert studio.traces()["files"] == []

    def test_waiting_answers_with_the_track(
        self, studio: Any, music: Music, encode: Encode
    ) -> None:
        studio.send(encode(music, format="OGG"))
        answer = studio.ingest_and_wait()
        assert answer.status_code == 200, answer.text
        assert answer.headers["Preference-Applied"] == "wait=60"
        assert answer.json()["state"] == "ready"

    def test_stems_instead_of_the_mix(self, studio: Any, music: Music, encode: Encode) -> None:
        stems = {"drums": music * 0.5, "bass": music[::-1].copy(), "other": music * 0.1}
        for name, samples in stems.items():
            assert studio.send(encode(samples, subtype="FLOAT"), name).status_code == 200
        studio.ingest()
        track = studio.track()
        assert track["state"] == "ready", track["problem"]
        heard = studio.artist.get(f"/v1/tracks/{studio.track_id}/audio").content
        expected = (stems["bass"] + stems["drums"]) + stems["other"]
        assert np.array_equal(samples_of(heard), expected)
        with studio.database.snapshot() as session:
            kept = {
                stem.name: (stem.source, stem.object_sha256)
                for stem in session.scalars(select(Stem).where(Stem.track_id == studio.track_id))
            }
        assert {name: source for name, (source, _) in kept.items()} == dict.fromkeys(
            stems, "uploaded"
        )
        for _, digest in kept.values():
            assert studio.objects.exists(digest)

    def test_stems_with_the_mix(self, studio: Any, music: Music, encode: Encode) -> None:
        drums, other = music * 0.6, music[::-1].copy() * 0.4
        studio.send(encode((drums + other) * 0.9, subtype="FLOAT"))
        studio.send(encode(drums, subtype="FLOAT"), "drums")
        studio.send(encode(other, subtype="FLOAT"), "other")
        studio.ingest()
        assert studio.track()["state"] == "ready", studio.track()["problem"]

    def test_once_it_is_ready_it_does_not_change(
        self, studio: Any, music: Music, encode: Encode
    ) -> None:
        studio.send(encode(music))
        studio.ingest()
        before = studio.traces()
        refusal(studio.send(encode(music * 0.5)), 409, "track-settled")
        refusal(studio.ingest(), 409, "track-settled")
        assert studio.traces() == before

    def test_a_second_asking_makes_no_second_job(
        self, studio: Any, music: Music, encode: Encode
    ) -> None:
        studio.send(encode(music))
        path = f"/v1/tracks/{studio.track_id}/ingest"
        assert studio.artist.post(path).status_code == 202
        assert studio.artist.post(path).status_code == 202
        with studio.database.snapshot() as session:
            jobs = session.scalars(select(Job).where(Job.track_id == studio.track_id)).all()
        assert len(jobs) == 1
        refusal(studio.send(encode(music)), 409, "track-settled")
        studio.work()
        assert studio.track()["state"] == "ready"

    def test_after_a_refusal_the_owner_may_try_again(
        self, studio: Any, music: Music, encode: Encode
    ) -> None:
        studio.send(encode(music[:1000]))
        studio.ingest()
        assert studio.track()["state"] == "rejected"
        studio.send(encode(music))
        studio.ingest()
        track = studio.track()
        assert track["state"] == "ready"
        assert track["problem"] is None

    def test_two_tracks_may_be_the_same_bytes(
        self, studio: Any, music: Music, encode: Encode
    ) -> None:
        """A rejection removes no object that another track still names."""
        content = encode(music * 0.7, subtype="FLOAT")
        studio.send(content)
        studio.ingest()
        kept = studio.track()["audio_sha256"]
        canonical = studio.artist.get(f"/v1/tracks/{studio.track_id}/audio").content
        studio.track_id = studio.new_track()
        # The very object that the first track plays, sent as a stem of a song that is refused.
        studio.send(canonical, "drums")
        studio.ingest()
        assert studio.track()["state"] == "rejected"
        assert studio.objects.exists(kept)

    def test_ingestion_is_repeatable(
        self, studio: Any, music: Music, encode: Encode, tmp_path: Any, permit_for_ingest: Any
    ) -> None:
        """A worker that died after settling finds it settled."""
        studio.send(encode(music))
        studio.ingest()
        before = studio.traces()
        permit = permit_for_ingest(studio.track_id)
        ingest_track(
            studio.database, studio.objects, studio.settings, permit, studio.track_id, tmp_path
        )
        assert studio.traces() == before

    def test_a_fault_of_ours_keeps_the_files_and_is_tried_again(
        self, studio: Any, music: Music, encode: Encode, tmp_path: Any, permit_for_ingest: Any
    ) -> None:
        studio.send(encode(music))
        studio.artist.post(f"/v1/tracks/{studio.track_id}/ingest")
        permit = permit_for_ingest(studio.track_id)

        class Stopped(Exception):
            pass

        def stop() -> None:
            raise Stopped

        with pytest.raises(Stopped):
            ingest_track(
                studio.database, studio.objects, studio.settings, permit, studio.track_id,
                tmp_path, stop=stop,
            )  # fmt: skip
        assert studio.track()["state"] == "ingesting"
        studio.work()
        assert studio.track()["state"] == "ready"

    def test_who_may_hear(self, studio: Any, music: Music, encode: Encode) -> None:
        path = f"/v1/tracks/{studio.track_id}/audio"
        refusal(studio.artist.get(path), 409, "audio-missing")
        studio.send(encode(music))
        studio.ingest()
        assert studio.artist.get(path).status_code == 200
        refusal(studio.client("listener", "somebody").get(path), 404, "not-found")
        refusal(studio.client("artist", "somebody-else").get(path), 404, "not-found")


def test_nothing_to_ingest(studio: Any, nothing: dict[str, Any]) -> None:
    refusal(studio.ingest(), 409, "audio-missing")
    assert studio.traces() == nothing


@pytest.mark.attack("another tenant's things by identifier")
def test_only_owners_ingest(studio: Any) -> None:
    path = f"/v1/tracks/{studio.track_id}/ingest"
    refusal(studio.client("artist", "somebody-else").post(path), 404, "not-found")
    refusal(studio.client("listener", "l").post(path), 403, "role-forbidden")


def truncated_flac(music: Music, encode: Encode) -> bytes:
    content = encode(music, format="FLAC")
    return content[: len(content) * 2 // 3]


def not_finite(music: Music, encode: Encode) -> bytes:
    broken = music.copy()
    broken[1234, 0] = np.nan
    return encode(broken, subtype="FLOAT")


def bomb(music: Music, encode: Encode) -> bytes:
    """An hour of silence in a small FLAC."""
    sink = io.BytesIO()
    block = np.zeros((22_050 * 60, 1), dtype=np.float32)
    with soundfile.SoundFile(sink, "w", 22_050, 1, format="FLAC") as out:
        for _ in range(60):
            out.write(block)
    content = sink.getvalue()
    assert len(content) < 1 << 20
    return content


BAD: dict[str, tuple[str, Callable[[Music, Encode], bytes]]] = {
    "a truncated FLAC": ("audio-truncated", truncated_flac),
    "zero length": ("audio-empty", lambda m, encode: encode(m[:0])),
    "NaN samples": ("audio-not-finite", not_finite),
    "1 Hz": ("audio-sample-rate", lambda m, encode: encode(m[:100], 1)),
    "384 kHz": ("audio-sample-rate", lambda m, encode: encode(m, 384_000)),
    "9 channels": ("audio-channels", lambda m, encode: encode(np.zeros((44_100 * 4, 9)))),
    "too long": ("audio-too-long", lambda m, encode: encode(np.tile(m, (8, 1)), format="FLAC")),
    "too short": ("audio-too-short", lambda m, encode: encode(m[:4410])),
    "a decompression bomb": ("audio-too-long", bomb),
    "noise behind a header": (
        "audio-undecodable",
        lambda m, encode: b"\x00\x00\x00\x20ftypM4A " + bytes(range(256)) * 40,
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_audio_is_refused_and_leaves_nothing(
    studio: Any, nothing: dict[str, Any], music: Music, encode: Encode, case: str
) -> None:
    slug, make = BAD[case]
    assert studio.send(make(music, encode)).status_code == 200
    document = refusal(studio.ingest_and_wait(), 422, slug)
    assert document["detail"].startswith("mix: ")
    assert document["instance"] == f"/v1/tracks/{studio.track_id}/ingest"
    track = studio.track()
    assert track["state"] == "rejected"
    assert track["problem"]["type"] == f"/problems/{slug}"
    job = studio.job()
    assert (job.state, job.reason) == ("refused", slug)
    assert studio.traces() == nothing


class TestBadStems:
    def refused(
        self, studio: Any, nothing: dict[str, Any], files: dict[str | None, bytes], slug: str
    ) -> str:
        for name, content in files.items():
            assert studio.send(content, name).status_code == 200
        studio.ingest()
        problem = studio.track()["problem"]
        assert problem["type"] == f"/problems/{slug}", problem
        assert studio.traces() == nothing
        return str(problem["detail"])

    def test_one_alone(
        self, studio: Any, nothing: dict[str, Any], music: Music, encode: Encode
    ) -> None:
        self.refused(studio, nothing, {"drums": encode(music)}, "stems-incomplete")

    def test_of_unequal_length(
        self, studio: Any, nothing: dict[str, Any], music: Music, encode: Encode
    ) -> None:
        files: dict[str | None, bytes] = {
            "drums": encode(music),
            "bass": encode(music[:-1]),
        }
        detail = self.refused(studio, nothing, files, "stems-disagree")
        assert "176399" in detail
        assert "176400" in detail

    def test_unlike_the_mix_in_length(
        self, studio: Any, nothing: dict[str, Any], music: Music, encode: Encode
    ) -> None:
        files: dict[str | None, bytes] = {
            None: encode(music[:-10]),
            "drums": encode(music),
            "bass": encode(music),
        }
        self.refused(studio, nothing, files, "stems-disagree")

    def test_that_are_not_the_whole_song(
        self, studio: Any, nothing: dict[str, Any], music: Music, encode: Encode
    ) -> None:
        noise = np.random.default_rng(0).standard_normal(music.shape).astype(np.float32)
        files: dict[str | None, bytes] = {
            None: encode(0.2 * noise + 0.1 * music, subtype="FLOAT"),
            "drums": encode(0.05 * music, subtype="FLOAT"),
            "bass": encode(0.05 * music, subtype="FLOAT"),
        }
        self.refused(studio, nothing, files, "stems-incomplete")

    def test_one_bad_among_good(
        self, studio: Any, nothing: dict[str, Any], music: Music, encode: Encode
    ) -> None:
        files: dict[str | None, bytes] = {
            "bass": encode(music),
            "drums": encode(music),
            "vocals": truncated_flac(music, encode),
        }
        detail = self.refused(studio, nothing, files, "audio-truncated")
        assert detail.startswith("vocals: ")


def test_a_rejection_repeated_is_the_same_rejection(
    studio: Any, music: Music, encode: Encode, tmp_path: Any, permit_for_ingest: Any
) -> None:
    """A worker that died between rejecting the track and ending the job."""
    studio.send(encode(music[:1000]))
    studio.artist.post(f"/v1/tracks/{studio.track_id}/ingest")
    permit = permit_for_ingest(studio.track_id)
    for _ in range(2):
        with pytest.raises(Exception, match="mix: ") as caught:
            ingest_track(
                studio.database, studio.objects, studio.settings, permit, studio.track_id,
                tmp_path,
            )  # fmt: skip
        assert getattr(caught.value, "slug", None) == "audio-too-short"
    studio.work()
    assert studio.job().reason == "audio-too-short"


def test_a_job_that_dies_of_something_else_frees_the_track(
    studio: Any, music: Music, encode: Encode
) -> None:
    """The files stay: the fault was ours, and the owner asks again without sending again."""
    studio.send(encode(music, format="FLAC"))
    studio.artist.post(f"/v1/tracks/{studio.track_id}/ingest")
    with studio.database.transaction() as session:
        session.execute(
            update(Track)
            .where(Track.id == studio.track_id)
            .values(state="rejected", problem={"type": "/problems/attempts-exhausted"})
        )
    answer = studio.artist.post(
        f"/v1/tracks/{studio.track_id}/ingest", headers={"Prefer": "wait=0"}
    )
    assert answer.status_code == 202
    assert studio.rows()["uploads"] == 1


@pytest.mark.parametrize("seconds", [0.02, 4.0], ids=["refused", "kept"])
def test_a_worker_whose_lease_is_gone_settles_nothing(
    studio: Any, music: Music, encode: Encode, tmp_path: Any, permit_for_ingest: Any, seconds: float
) -> None:
    studio.send(encode(music[: int(seconds * 44_100)]))
    studio.artist.post(f"/v1/tracks/{studio.track_id}/ingest")

    def gone(_session: Session) -> None:
        raise StaleLease("taken over")

    before = studio.traces()
    with pytest.raises(StaleLease):
        ingest_track(
            studio.database, studio.objects, studio.settings, permit_for_ingest(studio.track_id),
            studio.track_id, tmp_path, hold=gone,
        )  # fmt: skip
    assert studio.track()["state"] == "ingesting"
    assert studio.traces() == before
    studio.work()


def test_an_old_jobs_end_leaves_the_newer_ingestion_alone(
    studio: Any, music: Music, encode: Encode, tmp_path: Any, permit_for_ingest: Any
) -> None:
    """The owner read the rejection and asked again before the first job had ended."""
    studio.send(encode(music[:1000]))
    studio.artist.post(f"/v1/tracks/{studio.track_id}/ingest")
    first = studio.job().id
    with pytest.raises(Problem):
        ingest_track(
            studio.database, studio.objects, studio.settings, permit_for_ingest(studio.track_id),
            studio.track_id, tmp_path,
        )  # fmt: skip
    studio.send(encode(music, format="FLAC"))
    studio.artist.post(f"/v1/tracks/{studio.track_id}/ingest")
    with studio.database.transaction() as session:
        assert finish(session, first, JobState.REFUSED, "audio-too-short", "the old file")
    assert studio.track()["state"] == "ingesting"
    studio.work()
    assert studio.track()["state"] == "ready"
