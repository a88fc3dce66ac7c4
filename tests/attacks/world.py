"""A world to attack: an application whose rooms all hold something that is somebody's.

Ada and her label share two tracks. One is open to listeners, priced, and has remixes in every
state; the other is theirs alone: a draft with previews, a grant that still collects signatures, a
training grant, a proposal of other shares. Ines, an independent, sent a copy that is held.
"""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from sqlalchemy import inspect, text

from service.auth import Principal
from service.catalog.models import Upload
from service.catalog.schemas import NewShare
from service.consent import gate
from service.consent.mandates import giving
from service.consent.mandates.schemas import NewMandate
from service.consent.ownership import changing
from service.consent.signatures import MANDATE_TYPE, sign_payload
from service.database import new_id, now
from service.excerpts.keeping import keep as keep_excerpt
from service.ingestion.models import Dispute
from service.permit import Permit
from service.previews.submission import submit as submit_preview
from service.provenance.models import Credential, QuarantineCase
from service.remixes.publishing import PublishedFile, publish
from service.royalties import plays
from service.storage import ObjectStore
from service.takedown import taking
from service.templates.choices import Choices
from tests.ledger_house import FILE, Books
from tests.previews_house import Parlour
from tests.stories import Granted, Owner, Story
from tests.training_story import TrainingStory

TITLE = "Paper Lanterns"
AUDIO = "the private track"
OPERATOR = Principal(subject="op", role="operator")
LENA = Principal(subject="lena", role="listener", territory="DE")
MALLORY = Principal(subject="mallory", role="listener", territory="DE")


@dataclass
class World:
    """Names of what there is. `secrets` must never reach somebody they do not concern."""

    books: Books
    folder: Path
    ada: Owner
    label: Owner
    ines: Owner
    granted: Granted
    ids: dict[str, str] = field(default_factory=dict)
    signed: dict[str, bytes] = field(default_factory=dict)

    @property
    def story(self) -> Story:
        return self.books.story

    @property
    def secrets(self) -> set[str]:
        """Titles, names and identifiers, each as it would stand in an answer."""
        names = {self.ada.name, self.label.name, self.ines.name, TITLE}
        return names | {value for value in self.ids.values() if len(value) > 8}

    def put(self, permit: Permit, content: str) -> str:
        path = self.folder / f"{uuid4().hex}.flac"
        path.write_text(content)
        return ObjectStore(self.books.settings.objects).put(permit, path)

    def published(self, granted: Granted) -> str:
        """A published remix with its file and a credential."""
        job_id, lease, permit = self.books.at_publish(granted, LENA)
        file = replace(FILE, sha256=self.put(permit, job_id), bytes=len(job_id))
        with self.books.database.transaction() as session:
            publish(session, lease, permit, file)
            session.add(_credential(job_id, file))
        return job_id

    def rows(self) -> dict[str, list[str]]:
        """Every row of every table but the record of refusals: what an attack must not change."""
        with self.books.database.snapshot() as session:
            bind = session.connection()
            return {
                table: sorted(map(repr, session.execute(text(f"SELECT * FROM {table}"))))  # noqa: S608
                for table in inspect(bind).get_table_names()
                if table != "gate_decisions"
            }


def found(story: Story, folder: Path) -> World:
    """Build the world in an empty database, through the service's own code."""
    ada, label = story.owner("Ada Verborgen"), story.owner("Kontor Geheim", "label")
    ines = story.owner("Ines Einzeln", "independent")
    books = Books(story, story.settings)
    granted = books.priced(
        *(
            (owner, side, 500_000)
            for side in ("recording", "composition")
            for owner in (ada, label)
        ),
        title=TITLE,
        quota_per_listener=50,
        on_revocation="takedown",
        free_text=False,
    )
    world = World(books, folder, ada, label, ines, granted)
    _open(world)
    _private(world)
    _dispute(world)
    _quarantine(world)
    return world


def _open(world: World) -> None:
    """What listeners have of the open track."""
    books, granted = world.books, world.granted
    remix, taken = world.published(granted), world.published(granted)
    with books.database.transaction() as session:
        plays.record_play(session, books.settings, LENA, remix, "play-of-lena")
    with books.database.transaction() as session:
        taking.order(session, OPERATOR, taken, reason="A court's order")
    world.ids |= {
        "remix_id": remix,
        "taken": taken,
        "waiting": books.ask(granted, LENA),
        "under_way": _under_way(world),
        "open_track": granted.track_id,
        "open_template": granted.template_id,
        "open_grant": granted.grant_id,
        "party_id": world.ada.id,
        "kid": world.ada.key.thumbprint(),
        "label_id": world.label.id,
        "label_kid": world.label.key.thumbprint(),
        "ines_id": world.ines.id,
    }


def _under_way(world: World) -> str:
    """A remix that is being made, with an excerpt to hear."""
    job_id, lease, permit = world.books.at_publish(world.granted, LENA)
    digest = world.put(permit, "a beginning")
    with world.books.database.transaction() as session:
        keep_excerpt(
            session, lease, 1, start_seconds=0.0, seconds=2.0,
            object_sha256=digest, media_type="audio/flac",
        )  # fmt: skip
    return job_id


def _private(world: World) -> None:
    """A track that nobody else knows of."""
    story, ada, label, books = world.story, world.ada, world.label, world.books
    track_id = story.track(ada, label, audio_sha256=sha256(AUDIO.encode()).hexdigest())
    template_id = story.template(ada, track_id)
    story.version(label, template_id)
    grant_id, world.signed["grant"] = story.grant(ada, template_id)
    training = TrainingStory(story)
    training_id, world.signed["training"] = training.grant(ada, track_id)
    mandate_id, world.signed["mandate"] = _mandate(world, sign=True)
    waiting_mandate, world.signed["waiting_mandate"] = _mandate(world, sign=False)
    with books.database.transaction() as session:
        shares = [
            NewShare(party_id=ada.id, ppm=600_000),
            NewShare(party_id=label.id, ppm=400_000),
        ]
        changing.propose(session, ada.principal, track_id, shares)
    upload_track = story.track(ada, label)
    story.set_track(upload_track, state="awaiting_audio", audio_sha256=None)
    with books.database.snapshot() as session:
        permit = gate.permit_upload(session, ada.principal, track_id)
    world.put(permit, AUDIO)
    # Nothing can be sent before it is open, and a copy of the song is what it was sent for.
    with books.database.transaction() as session:
        session.add(Upload(track_id=upload_track, name="mix", object_sha256="ef" * 32, bytes=10))
    world.ids |= {
        "track_id": track_id,
        "template_id": template_id,
        "grant_id": grant_id,
        "training_grant_id": training_id,
        "mandate_id": mandate_id,
        "waiting_mandate": waiting_mandate,
        "upload_track": upload_track,
        "preview_id": _preview(world, template_id, published=True),
        "waiting_preview": _preview(world, template_id, published=False),
    }


def _mandate(world: World, *, sign: bool) -> tuple[str, bytes]:
    wish = {
        "grantor": world.ada.id,
        "agent": world.label.id,
        "tracks": "*",
        "expires_at": now() + timedelta(days=30),
    }
    with world.books.database.transaction() as session:
        mandate = giving.create_mandate(
            session, world.books.settings, world.ada.principal, NewMandate.model_validate(wish)
        )
        if sign:
            offered = sign_payload(mandate.payload, world.ada.key, MANDATE_TYPE)
            giving.sign_mandate(session, world.ada.principal, mandate.id, **offered)
        return mandate.id, mandate.payload


def _preview(world: World, template_id: str, *, published: bool) -> str:
    books = world.books
    with books.database.transaction() as session:
        job_id = submit_preview(
            session,
            books.keys,
            books.settings,
            world.ada.principal,
            template_id,
            1,
            Choices.model_validate({"style": "rock", "seed": 7}),
            uuid4().hex,
        ).id
    if published:
        Parlour(world.story, books.settings, world.folder).publish(job_id)
    return job_id


def _dispute(world: World) -> None:
    """Ines sent what sounds like the open track."""
    copy = world.story.track(world.ines)
    world.story.set_track(copy, state="held")
    with world.books.database.transaction() as session:
        dispute = Dispute(
            track_id=copy,
            earlier_track_id=world.granted.track_id,
            kind="sound",
            score=0.97,
            offset_seconds=1.5,
        )
        session.add(dispute)
        session.flush()
        world.ids |= {"dispute_id": dispute.id, "held_track": copy}


def _quarantine(world: World) -> None:
    """Something was made for Lena that may not leave."""
    job_id = world.ids["waiting"]
    case = QuarantineCase(
        id=new_id("qrt"), job_id=job_id, stage="stamp", reasons=["no watermark"], at=now()
    )
    with world.books.database.transaction() as session:
        session.add(case)
        session.flush()
        world.ids |= {"case_id": case.id}


def _credential(job_id: str, file: PublishedFile) -> Credential:
    active = f"urn:c2pa:{job_id}"
    return Credential(
        job_id=job_id,
        manifest_id=active,
        file_sha256=file.sha256,
        manifest={
            "active_manifest": active,
            "manifests": {active: {"title": TITLE, "assertions": []}},
            "validation_state": "Valid",
        },
        issued_at=now(),
    )


__all__ = ["LENA", "MALLORY", "OPERATOR", "TITLE", "World", "found"]
