"""The listener's page with several songs: what is heard side by side belongs together."""

import io
from collections.abc import Callable

import numpy as np
import soundfile
from owners_house import WAIT_MS, WHOLE_PRICE, House
from playwright.sync_api import Page, Route, expect

from service.auth import Principal
from tests.ledger_house import Books

LENA = Principal(subject="lena-of-two-songs", role="listener")


def a_second() -> bytes:
    """A second of silence as a WAV file."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros((8000, 1), dtype=np.float32), 8000, format="WAV")
    return file.getvalue()


def test_an_earlier_remix_comes_with_its_own_song(
    house: House, open_page: Callable[..., Page]
) -> None:
    story = house.story
    books = Books(story, story.settings)
    songs = {}
    for title in ("First Song", "Second Song"):
        granted = books.priced(
            (story.owner("Ada"), "recording", 1_000_000), price=WHOLE_PRICE, title=title
        )
        songs[title] = (granted, books.publish(granted, LENA))
    page = open_page(path="/")
    asked: list[str] = []
    sound = a_second()

    def audio(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(body=sound, content_type="audio/wav")

    page.route("**/audio", audio)
    page.locator("#sign-in-token").fill(house.token(LENA.subject, LENA.role))
    page.get_by_role("button", name="Continue").click()
    expect(page.locator("#song-title")).to_have_text("Second Song", timeout=WAIT_MS)
    granted, job = songs["First Song"]
    remixes = page.locator("#earlier-list button")
    expect(remixes).to_have_count(2, timeout=WAIT_MS)
    remixes.last.click()
    expect(page.locator("#download")).to_be_visible(timeout=WAIT_MS)
    assert page.url.endswith(f"#remix={job}")
    assert page.locator("#song-title").inner_text() == "First Song"
    assert "first-song" in (page.locator("#download").get_attribute("download") or "")
    assert any(granted.track_id in url for url in asked)
    # What was received is judged in the words of the verify page: this has no credential.
    verdict = page.locator("#verdict")
    expect(verdict).to_contain_text("Nothing known", timeout=WAIT_MS)
    expect(verdict).to_contain_text("Credential: None")
    assert verdict.get_attribute("data-verdict") == "absent"

    # A link to a remix is a name, and no way to another address of the API.
    page.goto(f"{house.url}/#remix=../parties/me")
    page.reload()
    expect(page.locator("#alert")).to_be_visible(timeout=WAIT_MS)
    loaded = page.evaluate("performance.getEntriesByType('resource').map(({ name }) => name)")
    assert [url for url in loaded if "parties" in url and "%2Fparties" not in url] == []
