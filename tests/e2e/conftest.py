"""The whole thing, running: the demo's own command serves, and a real browser looks."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

# Makes `running` importable under pytest's importlib mode.
sys.path.append(str(Path(__file__).parent))

from owners_house import WAIT_MS, House, is_fault, running_house
from running import DEMO_SECONDS, ROOT, Command, Demo, run_reprise

CHROMIUM = Path("/usr/bin/chromium")
CHROMIUM_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--mute-audio",
]


@pytest.fixture
def reprise(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """Starts `reprise` commands on a home folder of the test's own, and ends them."""
    started: list[Command] = []

    def start(*arguments: str, home: Path = tmp_path / "home", cwd: Path = ROOT) -> Command:
        started.append(run_reprise(home, *arguments, cwd=cwd))
        return started[-1]

    yield start
    for command in started:
        if command.process.poll() is None:
            command.end(signal.SIGKILL)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """`reprise demo`, told to its end once for all tests, and still up."""
    root = tmp_path_factory.mktemp("demo")
    folder = root / "demo"
    folder.mkdir()
    for name in ("song.flac", "song.ogg"):
        if (ROOT / "demo" / name).exists():
            (folder / name).symlink_to(ROOT / "demo" / name)
    command = run_reprise(root / "home", "demo", "--seed", "7", "--folder", str(folder))
    try:
        command.wait_for("The page stays up", DEMO_SECONDS)
        url = command.wait_for(r"Service at (\S+)", 1)[1]
        page = command.wait_for(r"Page +(\S+)", 1)[1]
        file = Path(command.wait_for(r"Remix +(\S+)", 1)[1])
        yield Demo(command, root / "home", folder, url, page, file)
    finally:
        command.end()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's chromium. Its absence is a failure in CI and a reason to skip elsewhere.

    One for each file: playwright keeps an event loop running in this thread until it is closed,
    and the next file that this process is given may want to run its own.
    """
    if not CHROMIUM.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{CHROMIUM} is absent; CI installs it")
        pytest.skip(f"{CHROMIUM} is absent: apt install chromium to run the browser tests")
    with sync_playwright() as playwright:
        # playwright makes a new, empty profile for each launch.
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM),
            args=CHROMIUM_ARGUMENTS,
            env={**os.environ, "HOME": os.environ.get("HOME", "/tmp")},
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def _house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One API for all tests of the pages; each test has owners of its own."""
    with running_house(tmp_path_factory.mktemp("owners")) as house:
        yield house


@pytest.fixture
def house(_house: House, monkeypatch: pytest.MonkeyPatch) -> House:
    """The API of the pages, and its cards for what a test does in this process itself."""
    monkeypatch.setenv("REPRISE_CARDS", str(_house.cards))
    return _house


@pytest.fixture
def open_page(browser: Browser, house: House, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Opens a page in a fresh profile; a script error or a broken policy fails the test."""
    faults: list[str] = []
    opened: list[Page] = []

    def open_(
        token: str | None = None, view: str = "", path: str = "/owners", **options: Any
    ) -> Page:
        context = browser.new_context(**options)
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda m: faults.append(m.text) if is_fault(m.type, m.text) else None)
        page.goto(f"{house.url}{path}" + (f"#token={token}" if token else ""))
        if view:
            page.goto(f"{house.url}{path}#{view}")
        opened.append(page)
        return page

    yield open_
    for number, page in enumerate(opened):
        page.screenshot(path=tmp_path / f"page-{number}.png", full_page=True)
        page.context.close()
    assert faults == []
