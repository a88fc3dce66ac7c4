"""The API alone, on a database that the tests write to as well, and the pages for those who decide.

There is no worker: what one would do is done by the same code of the service, where a test says so.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Page, expect
from running import PATIENCE, run_reprise

from service.auth import Principal, Role, ServiceKeys
from service.catalog.models import Party
from service.consent.models import Grant
from service.database import Database
from service.migrations import migrate
from service.settings import Settings
from tests.cards import write_cards
from tests.ledger_house import PRICE
from tests.previews_house import Parlour
from tests.stories import Owner, Story

READY_SECONDS = 60 * PATIENCE
WAIT_MS = 30_000 * PATIENCE
PHONE = {"width": 375, "height": 740}
FEE_PPM = 150_000
WHOLE_PRICE = {**PRICE, "recording_ppm": 1_000_000}


@dataclass
class House:
    """The API on a database that the tests write to as well."""

    story: Story
    url: str
    cards: Path

    def token(self, subject: str, role: Role = "artist") -> str:
        header = self.story.headers(Principal(subject=subject, role=role))["Authorization"]
        return header.removeprefix("Bearer ")

    def parlour(self, folder: Path) -> Parlour:
        """Where previews are made of drafts."""
        return Parlour(self.story, self.story.settings, folder)

    def party(self, subject: str) -> Party:
        """The party that was registered in the browser."""
        with self.story.database.snapshot() as session:
            found = session.query(Party).filter_by(subject=subject).one()
            session.expunge_all()
            return found

    def grant(self, grant_id: str) -> Grant:
        """A grant as it is kept, with its signatures."""
        with self.story.database.snapshot() as session:
            found = session.get_one(Grant, grant_id)
            assert found.signatures is not None
            session.expunge_all()
            return found


@contextmanager
def running_house(root: Path) -> Iterator[House]:
    """The API on a database below `root`, until the block ends.

    What it is told of the fee and the cards, it alone is told: this process runs other tests too.
    """
    cards = root / "cards"
    cards.mkdir()
    write_cards(cards)
    settings = Settings(home=root / "home", platform_fee_ppm=FEE_PPM)
    database = Database(settings.database)
    migrate(database)
    story = Story(database=database, settings=settings, keys=ServiceKeys.load(settings))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    told = {"REPRISE_CARDS": str(cards), "REPRISE_PLATFORM_FEE_PPM": str(FEE_PPM)}
    api = run_reprise(settings.home, "api", "--port", str(port), environment=told)
    try:
        api.wait_for("Application startup complete|Uvicorn running", READY_SECONDS)
        yield House(story, f"http://127.0.0.1:{port}", cards)
    finally:
        api.end()
        database.dispose()


def is_fault(kind: str, words: str) -> bool:
    """A refusal by the API is no fault of the page; the browser writes it down as one."""
    return kind == "error" and "Failed to load resource" not in words


def press(page: Page, name: str, *, answer: str | None = None) -> None:
    """Press a button and, where it asks first, the dialog's button that says `answer`."""
    page.get_by_role("button", name=name, exact=True).click()
    if answer is not None:
        page.get_by_role("dialog").get_by_role("button", name=answer, exact=True).click()


def told(page: Page, words: str) -> None:
    """The page says what was done, and the focus is there."""
    expect(page.locator("#done")).to_contain_text(words, timeout=WAIT_MS)
    assert page.evaluate("document.activeElement.id") == "done"


def register(page: Page, name: str, keeper: str) -> None:
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("You are").select_option("independent")
    page.get_by_label(keeper, exact=True).check()
    press(page, "Register")
    told(page, "is registered")


def as_owner(house: House, subject: str) -> Owner:
    """The browser's party as the stories know one; its private key is not theirs to have."""
    party = house.party(subject)
    who = Principal(subject=subject, role="artist")
    return Owner(id=party.id, name=party.name, principal=who, key=None)  # type: ignore[arg-type]
