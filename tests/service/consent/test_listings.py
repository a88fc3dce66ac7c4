"""Long lists: a page costs a page, whoever asks and however much there is."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from sqlalchemy import event, insert, select

from service.auth import Principal
from service.catalog.models import WHOLE_PPM
from service.consent import grants
from service.consent.catalog import open_catalog
from service.consent.models import Grant
from service.consent.training.grants import list_training_grants
from service.database import Database, new_id
from service.errors import NotFound
from tests.ownership_story import agree, propose
from tests.service.consent.test_mandates import given
from tests.stories import Granted, Story
from tests.training_story import TrainingStory

OPERATOR = Principal(subject="op", role="operator")
SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """The statements that are sent meanwhile."""
    sent: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_more: object) -> None:
        sent.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


def many(story: Story, granted: Granted, count: int) -> None:
    """Further grants like one that there is, as rows."""
    with story.database.transaction() as session:
        row = (
            session.execute(select(Grant.__table__).where(Grant.id == granted.grant_id))
            .mappings()
            .one()
        )
        copies = [{**row, "id": new_id("grt"), "state": "collecting"} for _ in range(count)]
        session.execute(insert(Grant), copies)


def fetched(story: Story, who: Principal, **wanted: int | bool) -> tuple[int, int]:
    """How many grants a page has, and how many were made objects of."""
    loaded: list[object] = []

    def note(target: object, _context: object) -> None:
        loaded.append(target)

    event.listen(Grant, "load", note)
    try:
        with story.database.snapshot() as session:
            page = grants.list_grants(session, who, **wanted)  # type: ignore[arg-type]
            return len(page), len(loaded)
    finally:
        event.remove(Grant, "load", note)


def test_a_page_of_grants_fetches_little_more_than_the_page(story: Story) -> None:
    granted = story.granted()
    many(story, granted, 450)
    owner = granted.owners[0].principal
    for who in (OPERATOR, owner):
        page, loaded = fetched(story, who, limit=10, offset=20)
        assert page == 10
        assert loaded <= grants.BATCH
        page, loaded = fetched(story, owner, limit=10, waiting=True)
        assert (page, loaded) == (10, grants.BATCH)


@SQLITE
def test_the_catalogue_asks_as_much_for_many_templates_as_for_one(story: Story) -> None:
    ada = story.owner("Ada")
    story.granted(ada)

    def asked() -> int:
        with counted(story.database) as sent, story.database.snapshot() as session:
            open_catalog(session, story.listener(), 1, 0)
        return len(sent)

    before = asked()
    for _ in range(6):
        story.granted(ada)
    assert asked() == before


@SQLITE
def test_the_catalogue_has_its_order_and_pages(story: Story) -> None:
    ada = story.owner("Ada")
    made = [story.granted(ada) for _ in range(5)]
    newest_first = [granted.template_id for granted in reversed(made)]
    with story.database.snapshot() as session:
        for offset in range(6):
            page = open_catalog(session, story.listener(), 2, offset)
            assert [entry.template_id for entry in page] == newest_first[offset : offset + 2]
            assert all(entry.quota_remaining == 3 for entry in page)


@SQLITE
def test_who_reads_the_page_after_the_last_finds_it_empty(story: Story) -> None:
    """Not that there is no such track: it has just read of it."""
    granted = story.granted()
    seller, label = granted.owners
    heir, agent = story.owner("Heir"), story.owner("Agent", "label")
    given(story, label, agent)
    half = {(heir.id, "recording"): WHOLE_PPM // 2, (label.id, "recording"): WHOLE_PPM // 2}
    propose(story, seller.principal, granted.track_id, half)
    agree(story, heir, granted.track_id)
    with story.database.snapshot() as session:
        for who in (seller, label, agent):
            for offset, count in ((0, 1), (1, 0), (50, 0)):
                found = grants.list_grants(
                    session, who.principal, granted.track_id, limit=5, offset=offset
                )
                assert len(found) == count
            assert grants.list_grants(session, who.principal, granted.track_id, waiting=True) == []
        with pytest.raises(NotFound):
            grants.list_grants(session, story.owner("Eve").principal, granted.track_id)


@SQLITE
def test_training_grants_come_in_pages(story: Story, client: TestClient) -> None:
    training = TrainingStory(story)
    ada = story.owner("Ada")
    track = story.track(ada)
    made = [training.grant(ada, track, adapter=f"ada-{number}")[0] for number in range(3)]
    with story.database.snapshot() as session:
        for offset, count in ((0, 2), (2, 1), (4, 0)):
            found = list_training_grants(session, ada.principal, track, limit=2, offset=offset)
            assert len(found) == count
    params = {"track_id": track, "limit": 1, "offset": 1}
    page = client.get("/v1/training-grants", params=params, headers=story.headers(ada.principal))
    assert [item["id"] for item in page.json()["items"]] == [made[1]]


@SQLITE
def test_an_admission_does_not_read_grants_that_have_ended(story: Story) -> None:
    granted = story.granted(quota_per_listener=10)
    many(story, granted, 30)
    with story.database.transaction() as session:
        session.execute(sa.update(Grant).where(Grant.state == "collecting").values(state="revoked"))
    loaded: list[object] = []

    def note(target: object, _context: object) -> None:
        loaded.append(target)

    event.listen(Grant, "load", note)
    try:
        story.admit(granted)
    finally:
        event.remove(Grant, "load", note)
    assert len(loaded) == 1
