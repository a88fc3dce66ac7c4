"""The page as it is served: its policy, its files, and nothing else of the disk."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.errors import install
from service.web.endpoints import STATIC, router

PAGES = ["/", "/owners", "/operators", "/verify"]
SERVED = [*PAGES, *(f"/static/{file.name}" for file in STATIC.iterdir() if file.suffix != ".html")]


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()
    install(app)
    app.include_router(router)
    return TestClient(app)


@pytest.mark.parametrize("path", SERVED)
def test_every_file_is_served_under_the_policy(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 200
    header = response.headers["content-security-policy"]
    policy = dict(part.strip().split(" ", 1) for part in header.split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert (policy["require-trusted-types-for"], policy["trusted-types"]) == ("'script'", "'none'")
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["x-content-type-options"] == "nosniff"


def test_scripts_come_with_the_type_that_modules_need(client: TestClient) -> None:
    assert client.get("/static/page.js").headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize(
    "path",
    [
        "/static/endpoints.py",
        "/static/..%2fendpoints.py",
        "/static/%2e%2e/endpoints.py",
        "/static/page.js%00.css",
        "/static/nothing.js",
        "/static/PAGE.JS",
        "/static/",
    ],
)
@pytest.mark.attack("path in a file name")
def test_nothing_else_of_the_disk_is_served(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code in {404, 422}
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", PAGES)
def test_a_page_needs_no_inline_script_or_style_and_no_other_origin(
    client: TestClient, path: str
) -> None:
    class Reader(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.faults: list[str] = []
            self.ids: list[str] = []
            self.labelled: list[str] = []
            self._open = ""

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self._open = tag
            for name, value in attrs:
                if name.startswith("on") or name == "style":
                    self.faults.append(f"{tag} {name}")
                if name in {"src", "href"} and not (value or "").startswith(("/", "#")):
                    self.faults.append(f"{tag} {name}={value}")
                if name == "id":
                    self.ids.append(value or "")
                if name == "aria-labelledby":
                    self.labelled.extend((value or "").split())

        def handle_data(self, data: str) -> None:
            if self._open in {"script", "style"} and data.strip():
                self.faults.append(f"inline {self._open}")

        def handle_endtag(self, tag: str) -> None:
            self._open = ""

    reader = Reader()
    reader.feed(client.get(path).text)
    assert reader.faults == []
    assert len(set(reader.ids)) == len(reader.ids)
    assert set(reader.labelled) <= set(reader.ids)


@pytest.mark.attack("markup in what a file says")
@pytest.mark.parametrize("script", sorted(STATIC.glob("*.js")), ids=lambda path: path.name)
def test_no_text_becomes_markup(script: Path) -> None:
    """The policy stops it in browsers that know Trusted Types; this holds for the others."""
    source = script.read_text()
    for sink in (
        "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function",
        "createContextualFragment", "DOMParser", "setTimeout(\"", "javascript:", "localStorage",
    ):  # fmt: skip
        assert sink not in source, sink


@pytest.mark.parametrize("page", ["owners", "operators"])
def test_every_word_of_a_page_is_in_its_module(page: str) -> None:
    asked = set(re.findall(r'data-(?:text|label)="(\w+)"', (STATIC / f"{page}.html").read_text()))
    module = "owner-text.js" if page == "owners" else "operator-text.js"
    block = re.search(r"\n  page: \{\n(.*?)\n  \},", (STATIC / module).read_text(), re.DOTALL)
    assert block is not None
    words = set(re.findall(r"^    (\w+):", block[1], re.MULTILINE))
    assert asked
    assert asked <= words
