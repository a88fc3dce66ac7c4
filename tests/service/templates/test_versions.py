"""Template versions: never changed, by no path, on either database."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import rfc8785
from sqlalchemy import delete, text, update
from sqlalchemy.exc import DatabaseError

from checkpoints.errors import CheckpointLicence, UnknownCheckpoint
from service.errors import NotFound
from service.templates.capability import PartNotSupported
from service.templates.models import TemplateVersion, TemplateVersionImmutable
from tests.stories import Story


def made(story: Story) -> tuple[str, str]:
    ada = story.owner("Ada")
    template = story.template(ada, story.track(ada))
    with story.database.snapshot() as session:
        return template, session.get_one(TemplateVersion, (template, 1)).sha256


@pytest.mark.attack("older template version")
def test_the_orm_refuses(story: Story) -> None:
    template, _ = made(story)
    with pytest.raises(TemplateVersionImmutable), story.database.transaction() as session:
        session.get_one(TemplateVersion, (template, 1)).terms = {}
    with pytest.raises(TemplateVersionImmutable), story.database.transaction() as session:
        session.delete(session.get_one(TemplateVersion, (template, 1)))


@pytest.mark.attack("older template version")
def test_the_database_refuses(story: Story) -> None:
    template, sha256 = made(story)
    for statement in (
        update(TemplateVersion).values(terms={}),
        update(TemplateVersion).values(sha256="0" * 64),
        delete(TemplateVersion),
        text("UPDATE template_versions SET version = 2"),
        text("DELETE FROM template_versions"),
    ):
        with (
            pytest.raises(DatabaseError, match="never change"),
            story.database.transaction() as session,
        ):
            session.execute(statement)
    with story.database.snapshot() as session:
        kept = session.get_one(TemplateVersion, (template, 1))
        assert kept.sha256 == sha256 == hashlib.sha256(kept.canonical).hexdigest()


def test_the_canonical_bytes_are_the_terms(story: Story) -> None:
    template, _ = made(story)
    with story.database.snapshot() as session:
        kept = session.get_one(TemplateVersion, (template, 1))
        document = {"template": f"{template}@1", "track": kept.track_id, "terms": kept.terms}
        assert kept.canonical == rfc8785.dumps(document)
        assert kept.terms["training"] == "notAllowed"
        assert kept.terms["voice_cloning"] is False


def test_a_change_is_a_new_version(story: Story) -> None:
    ada = story.owner("Ada")
    template = story.template(ada, story.track(ada))
    assert story.version(ada, template, styles=["funk"]) == 2
    with story.database.snapshot() as session:
        first, second = (session.get_one(TemplateVersion, (template, n)) for n in (1, 2))
        assert first.parsed.styles == ["rock", "funk"]
        assert second.parsed.styles == ["funk"]
        assert first.sha256 != second.sha256


def test_versions_made_at_once_get_different_numbers(story: Story) -> None:
    ada = story.owner("Ada")
    template = story.template(ada, story.track(ada))
    start = threading.Barrier(4)

    def make(_number: int) -> int:
        start.wait(20)
        return story.version(ada, template)

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(make, range(4))) == [2, 3, 4, 5]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_strangers_make_no_template(story: Story) -> None:
    ada, eve = story.owner("Ada"), story.owner("Eve")
    track = story.track(ada)
    template = story.template(ada, track)
    with pytest.raises(NotFound, match="no such track"):
        story.template(eve, track)
    with pytest.raises(NotFound, match="no such template"):
        story.version(eve, template)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_template_promises_only_what_its_cards_can_make(story: Story) -> None:
    ada = story.owner("Ada")
    track = story.track(ada)
    refusals: list[tuple[dict[str, object], type[Exception], str]] = [
        ({"checkpoints": ["test-bass"]}, PartNotSupported, "test-bass makes bass"),
        ({"checkpoints": ["test-separator"]}, PartNotSupported, "generator"),
        ({"styles": ["rock", "polka"]}, PartNotSupported, "polka"),
        ({"free_text": True}, PartNotSupported, "free_text"),
        ({"checkpoints": ["test-nothing"]}, UnknownCheckpoint, "test-nothing"),
        (
            {"checkpoints": ["test-non-commercial"], "commercial": True},
            CheckpointLicence,
            "CC-BY-NC",
        ),
    ]
    for change, refusal, words in refusals:
        with pytest.raises(refusal, match=words):
            story.template(ada, track, **change)
    story.template(ada, track, checkpoints=["test-non-commercial"])
    story.template(ada, track, checkpoints=["test-free-text"], free_text=True, styles=["polka"])
    story.template(ada, track, checkpoints=["test-drums"], commercial=True)
