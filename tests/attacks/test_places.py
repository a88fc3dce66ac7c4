"""Names that would be places: in the store, in cards, in folders, and addresses that nobody asked.

(Names in the API's paths and headers: `test_http.py`.)
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from checkpoints import registry
from checkpoints.errors import CardInvalid, UnknownCheckpoint
from service.errors import NotFound
from service.permit import Permit
from service.storage import ObjectStore
from workers.benchmarks.multitracks import BadMultitrack, open_multitrack

SECRET = "root:x:0:0"
PLACES = (
    "../../../etc/passwd",
    "/etc/passwd",
    "..\\..\\secret",
    "sha256/../../secret",
    "a" * 63 + "/",
    "A" * 64,
    "a" * 64 + "\x00",
    "a" * 64 + "/../../secret",
    "ａ" * 64,
    "",
    "file:///etc/passwd",
    "http://127.0.0.1/",
)


@pytest.fixture
def permit() -> Permit:
    return Permit(
        purpose="listen",
        stage="listen",
        track_id="trk",
        subject="s",
        job_id=None,
        token_id=None,
        grant_id=None,
        generation=None,
        checkpoints={},
        valid_until=datetime.now(UTC) + timedelta(minutes=5),
    )


@pytest.mark.attack("path in a storage key")
@pytest.mark.parametrize("name", PLACES, ids=[f"place {n}" for n in range(len(PLACES))])
def test_an_object_s_name_is_a_hash(tmp_path: Path, permit: Permit, name: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    store = ObjectStore(f"file://{tmp_path}/objects")
    with pytest.raises(NotFound):
        store.size(name)
    with pytest.raises(NotFound):
        list(store.stream(permit, name))
    with pytest.raises(NotFound):
        store.fetch(permit, name, tmp_path / "copy")
    with pytest.raises(NotFound):
        store.delete(name)
    assert not store.exists(name)
    assert secret.read_text() == SECRET


@pytest.mark.attack("path in a storage key")
def test_a_file_that_was_changed_in_the_store_is_not_handed_out(
    tmp_path: Path, permit: Permit
) -> None:
    store = ObjectStore(f"file://{tmp_path}/objects")
    source = tmp_path / "song"
    source.write_text("a song")
    digest = store.put(permit, source)
    (kept,) = (path for path in (tmp_path / "objects").rglob("*") if path.is_file())
    kept.unlink()
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    kept.symlink_to(secret)
    with pytest.raises(NotFound, match="damaged"):
        store.fetch(permit, digest, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


CARD = """
name = "{name}"
role = "separator"
title = "t"
licence = "Apache-2.0"
commercial_use = true
training_data = "none"
intended_use = "tests"
limits = "none"
bundled = false
sources = ["drums"]

[files]
"{file}" = {{ sha256 = "{digest}", bytes = 1{url} }}
"""


@pytest.mark.attack("address in a checkpoint's card")
@pytest.mark.parametrize(
    ("file", "url"),
    [
        ("../../evil.safetensors", None),
        ("/tmp/evil.safetensors", None),
        ("..", None),
        (".hidden", None),
        ("a/b.safetensors", None),
        ("a\\\\b.safetensors", None),
        ("m.safetensors", "http://127.0.0.1/m"),
        ("m.safetensors", "ftp://example.org/m"),
        ("m.safetensors", "gopher://example.org/m"),
        ("m.safetensors", "s3://bucket/m"),
        ("m.safetensors", "//example.org/m"),
        ("m.safetensors", "HTTP://169.254.169.254/latest"),
        ("m.safetensors", "javascript:alert(1)"),
    ],
)
def test_a_card_names_plain_files_and_https(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, url: str | None
) -> None:
    monkeypatch.setenv("REPRISE_CARDS", str(tmp_path))
    address = "" if url is None else f', url = "{url}"'
    text = CARD.format(name="evil", file=file, digest="0" * 64, url=address)
    (tmp_path / "evil.toml").write_text(text)
    with pytest.raises(CardInvalid):
        registry.card("evil")


@pytest.mark.attack("address in a checkpoint's card")
@pytest.mark.parametrize(
    "name", ["../evil", "/etc/passwd", "https://example.org/x", "evil\x00", "..", "", "EVIL "]
)
def test_a_card_is_asked_for_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "cards").mkdir()
    (tmp_path / "evil.toml").write_text(
        CARD.format(name="evil", file="m.safetensors", digest="0" * 64, url="")
    )
    monkeypatch.setenv("REPRISE_CARDS", str(tmp_path / "cards"))
    with pytest.raises(UnknownCheckpoint):
        registry.card(name)


@pytest.mark.attack("symlink in a folder")
def test_links_in_a_folder_of_songs(tmp_path: Path) -> None:
    """What they lead to is read as audio or not at all, and nothing of it is told."""
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n" * 100)
    traps = {"loop": "", "secret": str(secret), "zero": "/dev/zero", "folder": "/etc"}
    for name, target in traps.items():
        folder = tmp_path / f"song {name}"
        folder.mkdir()
        link = folder / "drums.wav"
        link.symlink_to(link if name == "loop" else target)
        with pytest.raises(BadMultitrack, match=r"drums\.wav") as refused:
            open_multitrack(folder)
        assert SECRET not in str(refused.value)


def members(schema: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Every named schema of a document."""
    if isinstance(schema, dict):
        for name, each in schema.items():
            yield f"{at}/{name}", each
            yield from members(each, f"{at}/{name}")
    elif isinstance(schema, list):
        for number, each in enumerate(schema):
            yield from members(each, f"{at}/{number}")


@pytest.mark.attack("address in a request (SSRF)")
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_api_takes_no_address(client: TestClient) -> None:
    """So that there is none to send the service to: no member is one, and none is called one."""
    document = client.get("/openapi.json").json()
    answers = {name for name in document["components"]["schemas"] if name.endswith("Links")}
    for where, schema in members(document):
        if any(f"/{name}/" in where for name in answers):
            continue
        if isinstance(schema, dict):
            assert schema.get("format") not in ("uri", "uri-reference", "iri", "url"), where
        name = where.rpartition("/")[2].lower()
        if "/properties/" in where and isinstance(schema, dict):
            assert not re.search(r"(^|_)(ur[li]|href|webhook|callback|host|path)($|_)", name), where
