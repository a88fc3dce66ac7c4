"""The listening page, made by the bundled models, in a real browser."""

import json
import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from workers.benchmarks.listen import main
from workers.training.data.corpus import write_corpus
from workers.training.data.soundfont import RendererMissing, find_fonts


@pytest.fixture(scope="module")
def page_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two triples of six seconds."""
    root = tmp_path_factory.mktemp("listen")
    try:
        fonts = find_fonts()
        write_corpus(root / "corpus", 16, 12, fonts, duration=6.0)
    except RendererMissing as reason:
        if os.environ.get("CI") == "true":
            pytest.fail(str(reason))
        pytest.skip(str(reason))
    assert main([
        "--out", str(root / "page"), "--corpus", str(root / "corpus"), "--kept", str(root / "kept"),
        "--pieces", "2", "--seconds", "6", "--candidates", "1", "--jobs", "1",
    ]) == 0  # fmt: skip
    shutil.rmtree(root / "kept")
    return root / "page"


@pytest.mark.parametrize("width", [375, 1280])
def test_the_page_plays_and_shows_everything_from_its_own_folder(
    browser: Browser, page_folder: Path, width: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800})
    page = context.new_page()
    asked: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto((page_folder / "index.html").as_uri())
    assert page.locator("article").count() == 2
    assert page.locator("section").count() == 6

    lengths = page.evaluate("""() => Promise.all([...document.querySelectorAll('audio')].map(
        (audio) => new Promise((resolve) => {
            audio.onloadedmetadata = () => resolve(audio.duration);
            audio.onerror = () => resolve(-1);
            audio.preload = 'metadata';
            audio.load();
        })))""")
    assert len(lengths) == 12
    assert all(length == pytest.approx(6.0, abs=0.2) for length in lengths)
    widths = page.evaluate("""async () => {
        const pictures = [...document.images];
        for (const picture of pictures) { picture.loading = 'eager'; await picture.decode(); }
        return pictures.map((picture) => picture.naturalWidth);
    }""")
    assert len(widths) == 6
    assert all(width >= 600 for width in widths)
    assert all(page.locator("img").nth(n).get_attribute("alt") for n in range(6))
    assert page.evaluate("document.documentElement.scrollWidth") <= width

    told = json.loads((page_folder / "figures.json").read_text())
    flaws = sum(len(version["flaws"]) for triple in told for version in triple["versions"].values())
    assert page.locator("tr.flaw").count() == flaws
    assert {url.split(":")[0] for url in asked} == {"file"}
    assert all(page_folder.as_uri() in url for url in asked)
    assert faults == []
    context.close()


def test_every_version_of_a_triple_is_another_sound(page_folder: Path) -> None:
    told = json.loads((page_folder / "figures.json").read_text())
    assert [triple["part"] for triple in told] == ["drums", "bass"]
    for number, triple in enumerate(told, start=1):
        folder = page_folder / f"{number:02d}-{triple['part']}"
        mixes = {
            (folder / f"{name}.mp3").read_bytes() for name in ("original", "regenerated", "other")
        }
        assert len(mixes) == 3
        styles = [triple["versions"][name]["style"] for name in ("regenerated", "other")]
        assert styles[0] == triple["own_style"] != styles[1]
        assert triple["versions"]["original"]["flaws"] == []
