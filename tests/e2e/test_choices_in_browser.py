"""The form in a real browser: it offers what template and checkpoint both have, and no more.

The API is real and so are its refusals; the cards are an operator's, with controls and without.
Nothing works on what is asked here: what matters is what arrives.
"""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, Page, expect
from running import PATIENCE, Command

from service.auth import ServiceKeys
from service.consent import gate
from service.database import Database
from service.migrations import migrate
from service.settings import Settings
from service.storage import ObjectStore, file_sha256
from tests.cards import write_cards
from tests.stories import Story

READY_SECONDS = 60 * PATIENCE
LOAD_MS = 30_000 * PATIENCE
SECONDS = 20.0
OFFERS: dict[str, dict[str, Any]] = {
    "Ada": {"checkpoints": ["test-controls", "test-separator"]},
    "Ben": {"checkpoints": ["test-drums", "test-separator"]},
    "Cem": {
        "checkpoints": ["test-controls", "test-separator"],
        "densities": ["sparse", "normal"],
        "swing": False,
        "redo_seconds": {"min": 1, "max": 10},
    },
}


@pytest.fixture
def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Story]:
    """Three artists' songs, each open to listeners under terms of its own."""
    (tmp_path / "cards").mkdir()
    monkeypatch.setenv("REPRISE_CARDS", str(write_cards(tmp_path / "cards")))
    settings = Settings(home=tmp_path / "home")
    database = Database(settings.database)
    migrate(database)
    told = Story(database=database, settings=settings, keys=ServiceKeys.load(settings))
    song = tmp_path / "song.wav"
    noise = np.random.default_rng(1).uniform(-0.3, 0.3, (int(SECONDS * 44_100), 1))
    soundfile.write(song, noise.astype(np.float32), 44_100)
    for name, terms in OFFERS.items():
        owner = told.owner(name)
        track = told.track(owner, seconds=SECONDS, audio_sha256=file_sha256(song))
        with database.snapshot() as session:
            permit = gate.permit_upload(session, owner.principal, track)
        ObjectStore(settings.objects).put(permit, song)
        grant, payload = told.grant(owner, told.template(owner, track, **terms))
        told.sign(owner, grant, payload)
    yield told
    database.dispose()


@pytest.fixture
def url(story: Story, reprise: Callable[..., Command]) -> str:
    """The API that serves the page, with nobody to work on what is asked."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    api = reprise("api", "--port", str(port), home=story.settings.home)
    api.wait_for("Application startup complete|Uvicorn running", READY_SECONDS)
    return f"http://127.0.0.1:{port}"


@pytest.fixture
def page(browser: Browser, url: str, story: Story) -> Iterator[Page]:
    """The page as a listener finds it, with `More choices` open."""
    context = browser.new_context()
    page = context.new_page()
    token = story.headers(story.listener())["Authorization"].removeprefix("Bearer ")
    page.goto(f"{url}/#token={token}")
    expect(page.locator("#songs .tile")).to_have_count(len(OFFERS), timeout=LOAD_MS)
    # It is open already where the artist wants only a part of it made anew.
    if not page.locator("#more").evaluate("(details) => details.open"):
        page.locator("summary").click()
    yield page
    context.close()


def pick(page: Page, artist: str) -> None:
    """Choose an artist's song, and wait until the page shows it."""
    page.locator("#songs .tile", has_text=artist).click()
    expect(page.locator("#song-artist")).to_have_text(artist)


def asked(page: Page, url: str, story: Story) -> dict[str, Any]:
    """Ask, and give the choices as the service keeps them."""
    page.get_by_role("button", name="Ask for the remix").click()
    expect(page.locator("#job-status")).to_have_text("Waiting for a worker", timeout=LOAD_MS)
    remixes = httpx.get(f"{url}/v1/remixes", headers=story.headers(story.listener())).json()
    choices: dict[str, Any] = remixes["items"][0]["choices"]
    return choices


def test_what_is_chosen_is_what_is_asked_for(page: Page, url: str, story: Story) -> None:
    pick(page, "Ada")
    density = page.get_by_label("Density")
    assert density.locator("option").all_text_contents() == [
        "As the song suggests",
        "Sparse",
        "Normal",
        "Busy",
    ]
    density.select_option("busy")
    page.get_by_label("Fills").select_option("Without fills")
    page.get_by_label("Feel").select_option("Swung")
    page.get_by_label("From second").fill("4")
    page.get_by_label("To second").fill("8.25")
    choices = asked(page, url, story)
    assert {name: choices[name] for name in ("density", "fills", "swing", "redo")} == {
        "density": "busy",
        "fills": False,
        "swing": True,
        "redo": [{"start": 4.0, "end": 8.25}],
    }
    words = "rock, busy, without fills, swung, only 0:04–0:08.25"
    expect(page.locator("#remix-caption")).to_have_text(f"Remix · {words}")
    page.goto(url)
    expect(page.locator("#earlier-list button").first).to_contain_text(words)


def test_untouched_choices_are_the_songs(page: Page, url: str, story: Story) -> None:
    pick(page, "Ada")
    assert not asked(page, url, story).keys() & {"density", "fills", "swing", "redo"}


def test_a_checkpoint_without_controls_shows_none(page: Page, url: str, story: Story) -> None:
    pick(page, "Ada")
    page.get_by_label("Density").select_option("busy")
    pick(page, "Ben")
    for label in ("Density", "Fills", "Feel"):
        expect(page.get_by_label(label)).to_be_hidden()
    # A blank start is the song's own; what was chosen for the other song is gone.
    page.get_by_label("To second").fill("6")
    choices = asked(page, url, story)
    assert choices["redo"] == [{"start": 0.0, "end": 6.0}]
    assert not choices.keys() & {"density", "fills", "swing"}


def test_the_artists_bounds_are_shown_and_kept(page: Page) -> None:
    pick(page, "Cem")
    assert page.get_by_label("Density").locator("option").all_text_contents() == [
        "As the song suggests",
        "Sparse",
        "Normal",
    ]
    expect(page.get_by_label("Fills")).to_be_visible()
    expect(page.get_by_label("Feel")).to_be_hidden()
    expect(page.locator("#redo-hint")).to_contain_text("At most 10 s")
    page.get_by_label("From second").fill("5")
    page.get_by_role("button", name="Ask for the remix").click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The template does not allow this choice", timeout=LOAD_MS)
    expect(alert).to_contain_text("redo 15.0 is not between 1 and 10 s in all")
