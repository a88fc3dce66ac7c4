"""The proof that travels: checked offline; nothing in it can be changed unseen."""

import base64
import json

import pytest

from service.settings import Settings
from service.transparency.log_keys import LogKeys
from service.transparency.proof import ProofInvalid, check_proof
from service.transparency.reading import proof_of
from tests.service.transparency.conftest import Book

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def proof(book: Book) -> str:
    """The proof of entry 4 of 9."""
    book.add(9)
    book.sign()
    with book.database.snapshot() as session:
        (entry,) = [row for row in book.rows() if row.position == 4]
        return proof_of(session, entry)


def test_a_proof_proves_its_record(book: Book, proof: str) -> None:
    proved = check_proof(proof, book.keys.verifiers)
    assert (proved.record["number"], proved.index, proved.checkpoint.size) == (4, 4, 9)
    header, extra, index, *_ = proof.split("\n")
    assert (header, index) == ("c2sp.org/tlog-proof@v1", "index 4")
    assert json.loads(base64.b64decode(extra.removeprefix("extra "))) == proved.record


def test_no_character_of_a_proof_can_be_changed_or_left_out(book: Book, proof: str) -> None:
    for at, char in enumerate(proof):
        other = "B" if char != "B" else "C"
        for forged in (proof[:at] + other + proof[at + 1 :], proof[:at] + proof[at + 1 :]):
            with pytest.raises(ProofInvalid):
                check_proof(forged, book.keys.verifiers)


def test_a_record_with_other_facts_is_not_proved(book: Book, proof: str) -> None:
    lines = proof.split("\n")
    record = json.loads(base64.b64decode(lines[1].removeprefix("extra ")))
    record["number"] = 5
    lines[1] = "extra " + base64.b64encode(json.dumps(record).encode()).decode()
    with pytest.raises(ProofInvalid, match="not where the proof says"):
        check_proof("\n".join(lines), book.keys.verifiers)


def test_another_logs_key_proves_nothing(proof: str, settings: Settings) -> None:
    other = LogKeys(settings.model_copy(update={"home": settings.home / "other"}))
    with pytest.raises(ProofInvalid, match="no key that counts"):
        check_proof(proof, other.verifiers)


@pytest.mark.parametrize(
    "text",
    ["", "\n\n", "c2sp.org/tlog-proof@v1\nextra e30=\nindex 0\n\nx", "x" * 200_000,
     "c2sp.org/tlog-proof@v1\nextra " + base64.b64encode(b"[" * 60_000).decode() + "\nindex 0\n\n"],
    ids=["empty", "blank", "unsigned", "long", "deep"],
)  # fmt: skip
def test_what_is_no_proof_is_refused(book: Book, text: str) -> None:
    with pytest.raises(ProofInvalid):
        check_proof(text, book.keys.verifiers)
