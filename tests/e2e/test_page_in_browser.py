"""The page in a real browser, against the real service and its real worker."""

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from running import PATIENCE, Demo, command_line, pids_below

REMIX_MS = 180_000 * PATIENCE
LOAD_MS = 30_000 * PATIENCE
PHONE = {"width": 375, "height": 740}
DESKTOP = {"width": 1280, "height": 860}
CLOCK = "[performance.now() / 1000, reprise.player.position, reprise.player.gains]"


@pytest.fixture
def open_page(browser: Browser, demo: Demo, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Opens the page in a fresh profile; any script error or broken policy fails the test."""
    faults: list[str] = []
    opened: list[Page] = []

    def open_(fragment: str, **options: object) -> Page:
        context = browser.new_context(**{"viewport": DESKTOP, **options})  # type: ignore[arg-type]
        page = context.new_page()
        page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(f"{demo.url}/{fragment}")
        opened.append(page)
        return page

    yield open_
    for number, page in enumerate(opened):
        page.screenshot(path=tmp_path / f"page-{number}.png", full_page=True)
        page.context.close()
    assert faults == []


def until(page: Page, condition: str, milliseconds: float = LOAD_MS) -> None:
    """Wait for a JavaScript condition (`wait_for_function` needs eval, which the policy bars)."""
    deadline = time.monotonic() + milliseconds / 1000
    while not page.evaluate(condition):
        if time.monotonic() > deadline:
            shown = page.locator("body").inner_text()
            pytest.fail(f"not within {milliseconds / 1000:.0f} s: {condition}\n{shown}")
        page.wait_for_timeout(100)


def focused(page: Page) -> str:
    return str(
        page.evaluate("document.activeElement.id || document.activeElement.name || 'nothing'")
    )


def tab_to(page: Page, wanted: str) -> None:
    """Press Tab until the element called `wanted` has the focus."""
    for _ in range(40):
        if focused(page) == wanted:
            return
        page.keyboard.press("Tab")
    pytest.fail(f"Tab does not reach {wanted}")


def test_a_remix_is_asked_for_watched_heard_and_verified_by_keyboard_alone(
    open_page: Callable[..., Page], demo: Demo, tmp_path: Path
) -> None:
    page = open_page(f"#token={demo.token()}")
    until(page, "reprise.player.buffer('original') !== null")
    assert "token" not in page.url, "the token leaves the address at once"
    assert page.locator("#song-title").inner_text() == "Paper Lanterns"

    # The song is a radio group, the styles are another: arrows choose within, Tab moves on.
    tab_to(page, "song")
    tab_to(page, "style")
    before = page.locator("#style-choices input:checked").input_value()
    page.keyboard.press("ArrowRight")
    style = page.locator("#style-choices input:checked").input_value()
    assert style != before

    # Every stage that the page shows is noted, as a person watching would see it.
    page.evaluate("""() => {
        window.seen = [];
        new MutationObserver(() => {
            const now = document.querySelector('#stages [aria-current=step]')?.textContent;
            if (now && window.seen.at(-1) !== now) window.seen.push(now);
        }).observe(document.getElementById('stages'), { childList: true, subtree: true });
    }""")
    tab_to(page, "ask-button")
    page.keyboard.press("Enter")
    until(page, "!document.getElementById('job').hidden")
    # Its beginning plays by itself while the rest is made, until somebody wants silence.
    until(page, "reprise.early.position > 1", REMIX_MS)
    assert page.evaluate("reprise.player.buffer('remix') === null")
    assert page.locator("#early-status").inner_text().startswith("You hear its beginning")
    page.screenshot(path=tmp_path / "early.png")
    tab_to(page, "early-toggle")
    page.keyboard.press("Enter")
    assert page.evaluate("[reprise.early.playing, reprise.early.position]") == [False, 0]
    assert page.locator("#early-toggle").inner_text() == "Hear its beginning"
    until(page, "document.getElementById('verdict').dataset.verdict !== undefined", REMIX_MS)
    assert page.locator("#early").is_hidden()
    assert page.evaluate("reprise.player.playing") is False
    seen = page.evaluate("window.seen")
    order = ["Separate", "Regenerate", "Mix", "Sign", "Publish"]
    assert seen == [stage for stage in order if stage in seen]
    assert "Regenerate" in seen

    assert page.locator("#verdict").get_attribute("data-verdict") == "trusted"
    assert page.locator("#verdict strong").inner_text() == "Verified"
    assert "Credential: Trusted" in page.locator("#verdict").inner_text()
    credited = page.locator("#credits").inner_text()
    assert "Reprise Ensemble" in credited
    assert "AI" in credited
    assert re.search(r"made anew\s+drums", credited, re.IGNORECASE)
    assert style in page.locator("#remix-caption").inner_text()

    lengths = page.evaluate(
        "['original', 'remix'].map((name) => reprise.player.buffer(name).length)"
    )
    assert lengths[0] == lengths[1], "the remix has the original's exact length"

    # Space plays, A and B switch; the position runs on as the clock does, whichever is heard.
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Space")
    until(page, "reprise.player.playing && reprise.player.position > 0.5")
    for key, heard, silent in (("a", "original", "remix"), ("b", "remix", "original")):
        clock, position, _ = page.evaluate(CLOCK)
        page.keyboard.press(key)
        page.wait_for_timeout(400)
        clock_after, position_after, gains = page.evaluate(CLOCK)
        assert gains[heard] == pytest.approx(1, abs=1e-3)
        assert gains[silent] == pytest.approx(0, abs=1e-3)
        assert position_after - position == pytest.approx(clock_after - clock, abs=0.12)
        assert page.locator(f"#switch input[value={heard}]").is_checked()

    # The position is a slider.
    tab_to(page, "lanes")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("reprise.player.position") == pytest.approx(5, abs=0.5)
    page.keyboard.press("Space")
    assert page.evaluate("reprise.player.playing") is False
    text = page.locator("#lanes").get_attribute("aria-valuetext")
    assert text is not None
    assert re.match(r"0:0[45] of 0:3\d", text), text


def test_the_demos_address_shows_its_remix_on_a_phone(
    open_page: Callable[..., Page], demo: Demo
) -> None:
    fragment = demo.page.removeprefix(demo.url).lstrip("/")
    page = open_page(
        fragment, viewport=PHONE, has_touch=True, is_mobile=True, device_scale_factor=2
    )
    until(page, "document.getElementById('verdict').dataset.verdict === 'trusted'", LOAD_MS)
    until(page, "reprise.player.buffer('original') !== null")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]

    page.tap("#play")
    until(page, "reprise.player.playing && reprise.player.position > 0.3")
    page.tap("#switch label:has([value=original])")
    page.wait_for_timeout(200)
    _, position, gains = page.evaluate(CLOCK)
    assert gains == pytest.approx({"original": 1, "remix": 0}, abs=1e-3)
    assert position > 0.4, "switching goes on where we were"

    # Drawn at the device's own pixels, and both drawn.
    for name in ("original", "remix"):
        drawn = page.evaluate(
            """(id) => {
                const canvas = document.getElementById(id);
                const { data } = canvas.getContext('2d')
                    .getImageData(0, 0, canvas.width, canvas.height);
                let inked = 0;
                for (let i = 3; i < data.length; i += 4) inked += data[i] > 0;
                return [canvas.width, canvas.clientWidth, inked / (canvas.width * canvas.height)];
            }""",
            f"wave-{name}",
        )
        assert drawn[0] == drawn[1] * 2
        assert drawn[2] > 0.03

    with page.expect_download() as download:
        page.tap("#download")
    received = Path(download.value.path()).read_bytes()
    assert received == demo.file.read_bytes(), "what is saved is what was verified"


def test_a_remix_that_is_cancelled_says_so(open_page: Callable[..., Page], demo: Demo) -> None:
    page = open_page(f"#token={demo.token()}", color_scheme="dark")
    until(page, "!document.getElementById('ask-button').disabled")
    page.click("summary")
    page.fill("#seed", "12345")
    page.click("#ask-button")
    until(page, "document.querySelector('#stages [aria-current=step]') !== null")
    page.click("#cancel")
    until(page, "document.getElementById('job-status').textContent.startsWith('Cancelled')", 60_000)
    assert page.locator("#verdict").is_hidden()
    until(page, "!document.getElementById('ask-button').disabled")


def test_the_api_may_die_while_the_page_watches(browser: Browser, demo: Demo) -> None:
    page = browser.new_context(viewport=DESKTOP).new_page()
    page.goto(f"{demo.url}/#token={demo.token()}")
    until(page, "!document.getElementById('ask-button').disabled")
    page.click("#ask-button")
    until(page, "document.querySelector('#stages [aria-current=step]') !== null")
    api = next(
        pid
        for pid in pids_below(demo.command.process.pid)
        if "service.cli api" in command_line(pid)
    )
    os.kill(api, signal.SIGKILL)
    # The page resumes after the last event it saw, on the API that was started in its place.
    until(page, "document.getElementById('verdict').dataset.verdict === 'trusted'", REMIX_MS)
    assert page.locator("#alert").is_hidden()
    # Whoever heard its beginning goes on hearing the remix from there.
    until(page, "reprise.player.playing && reprise.player.heard === 'remix'")
    assert page.evaluate("reprise.player.position") > 2
    page.context.close()


def test_without_a_token_it_asks_for_one_and_refuses_a_false_one_in_words(
    browser: Browser, demo: Demo
) -> None:
    page = browser.new_context(viewport=PHONE).new_page()
    page.goto(demo.url)
    until(page, "!document.getElementById('sign-in').hidden")
    assert page.evaluate("document.activeElement.id") == "sign-in-token"
    page.keyboard.type(json.dumps("no token"))
    page.keyboard.press("Enter")
    until(page, "!document.getElementById('alert').hidden")
    assert page.locator("#main").is_hidden()
    page.fill("#sign-in-token", demo.token())
    page.keyboard.press("Enter")
    until(page, "!document.getElementById('main').hidden")
    assert page.locator("#songs .tile").count() >= 1
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.context.close()
