"""The log over HTTP: for anybody, cacheable, bounded; what it gives can be checked by itself."""

import base64
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.transparency.merkle import consistent, hash_leaf, includes
from service.transparency.notes import Verifier, open_checkpoint
from service.transparency.proof import check_proof
from tests.service.transparency.conftest import Book
from tests.stories import Story

ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def read(client: TestClient, path: str) -> Any:
    answer = client.get(f"/v1/log{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def raw(texts: list[str]) -> list[bytes]:
    return [base64.b64decode(text) for text in texts]


def test_every_entry_is_proved_to_a_stranger(book: Book, client: TestClient) -> None:
    """From the public answers alone: entries, checkpoint, inclusion and consistency."""
    book.add(3)
    book.sign()
    before = read(client, "")
    book.add(5)
    book.sign()
    about = read(client, "")
    verifiers = [Verifier.parse(key) for key in about["verifier_keys"]]
    checkpoint = open_checkpoint(client.get("/v1/log/checkpoint").text, verifiers)
    assert (about["size"], about["waiting"]) == (8, 0)
    assert base64.b64decode(about["root"]) == checkpoint.root
    entries = read(client, "/entries?start=1&limit=3")["items"]
    assert [entry["index"] for entry in entries] == [1, 2, 3]
    for entry in entries:
        leaf = base64.b64decode(entry["leaf"])
        assert hash_leaf(leaf).hex() == entry["leaf_hash"]
        proof = read(client, f"/proofs/inclusion?leaf_hash={entry['leaf_hash']}&size=8")
        path = raw(proof["proof"])
        assert includes(hash_leaf(leaf), entry["index"], 8, path, checkpoint.root)
    grown = read(client, "/proofs/consistency?first=3&second=8")
    roots = base64.b64decode(before["root"]), checkpoint.root
    assert consistent(3, 8, *roots, raw(grown["proof"]))
    assert len(read(client, "/entries")["items"]) == 8
    assert read(client, "/entries?start=8")["items"] == []


@ONE
def test_tiles_are_those_of_the_specification(book: Book, client: TestClient) -> None:
    book.add(2)
    book.sign()
    assert client.get("/v1/log/tile/0/000").status_code == 404, "it is not full"
    tile = client.get("/v1/log/tile/0/000.p/2")
    assert tile.headers["content-type"] == "application/octet-stream"
    assert tile.content == b"".join(row.leaf_hash for row in book.rows())
    # What a smaller checkpoint counted stays readable.
    assert client.get("/v1/log/tile/0/000.p/1").content == tile.content[:32]
    bundle = client.get("/v1/log/tile/entries/000.p/2").content
    leaves = [row.leaf for row in book.rows()]
    assert bundle == b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in leaves)
    for gone in ("0/000.p/3", "1/000.p/1", "0/001.p/1", "63/000", "entries/001", "0/x000/000"):
        assert client.get(f"/v1/log/tile/{gone}").status_code == 404, gone


@ONE
def test_what_never_changes_may_be_kept_for_good(book: Book, client: TestClient) -> None:
    book.add(2)
    book.sign()
    forever = ("tile/0/000.p/2", "tile/entries/000.p/1", "proofs/consistency?first=1&second=2")
    for path in (*forever, "checkpoint", "proofs/consistency?first=1", "entries", ""):
        headers = client.get(f"/v1/log/{path}".rstrip("/")).headers
        assert ("immutable" in headers["cache-control"]) == (path in forever), path
        assert "public" in headers["cache-control"]
        assert headers["access-control-allow-origin"] == "*"


@ONE
@pytest.mark.parametrize(
    ("path", "status", "slug"),
    [
        ("proofs/inclusion?leaf_hash=" + "00" * 32, 404, "not-found"),
        ("proofs/inclusion?leaf_hash=zz", 422, "invalid-request"),
        ("proofs/consistency?first=3", 404, "log-size-unknown"),
        ("proofs/consistency?first=0&second=3", 404, "log-size-unknown"),
        ("proofs/consistency?first=2&second=1", 404, "log-size-unknown"),
        ("proofs/consistency?first=-1", 422, "invalid-request"),
        (f"proofs/consistency?first={2**63}", 422, "invalid-request"),
        ("entries?limit=257", 422, "invalid-request"),
        ("entries?subject=grt_a", 422, "invalid-request"),
        ("tile/64/000", 422, "invalid-request"),
        ("tile/0/nonsense", 404, "not-found"),
    ],
)
def test_what_is_not_there_is_refused(
    book: Book, client: TestClient, path: str, status: int, slug: str
) -> None:
    book.add(2)
    book.sign()
    answer = client.get(f"/v1/log/{path}")
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{slug}")


def test_an_entry_is_not_proved_before_it_is_signed(book: Book, client: TestClient) -> None:
    assert client.get("/v1/log/checkpoint").status_code == 409
    book.sign()
    book.add(1)
    (row,) = book.rows()
    answer = client.get("/v1/log/proofs/inclusion", params={"leaf_hash": row.leaf_hash.hex()})
    assert (answer.status_code, answer.headers["retry-after"]) == (409, "2")
    assert answer.json()["changed_by"]
    assert read(client, "")["waiting"] == 1
    assert read(client, "/entries")["items"] == []


def test_an_owner_reads_the_proofs_of_its_grant_and_nobody_else_does(
    book: Book, story: Story, client: TestClient
) -> None:
    granted = story.granted()
    book.sign()
    path = f"/v1/grants/{granted.grant_id}/proofs"
    answer = client.get(path, headers=story.headers(granted.owners[0].principal)).json()
    assert [item["type"] for item in answer["items"]] == ["grant-made", "grant-opened"]
    for item in answer["items"]:
        proved = check_proof(item["proof"], book.keys.verifiers)
        assert proved.record["ref"] == granted.grant_id
        assert proved.index == item["index"]
    # The subject is what everybody may follow who was told it.
    subject = proved.record["subject"]
    assert len(read(client, f"/entries?subject={subject}")["items"]) == 2
    stranger = story.owner("Eve").principal
    assert client.get(path, headers=story.headers(stranger)).status_code == 404
    assert client.get(path).status_code == 401
