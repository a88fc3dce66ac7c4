"""Signed notes: a note that others signed, our own, and forgeries."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.auth.keys import ServiceKeyUnusable
from service.settings import Settings
from service.transparency.log_keys import LogKeys
from service.transparency.merkle import EMPTY_ROOT
from service.transparency.notes import (
    Checkpoint,
    NoteInvalid,
    Verifier,
    open_checkpoint,
    open_note,
    sign,
)

# The example of golang.org/x/mod/sumdb/note, where the format comes from (BSD-3-Clause).
NEUMANN = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PROBLEM = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
SIGNED = (
    PROBLEM
    + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqf"
    "qdngotpRZb6KE6RyyBwJnAM=\n"
)


@pytest.fixture
def signer() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


def verifier(key: Ed25519PrivateKey, name: str = "a.example/log") -> Verifier:
    return Verifier(name, key.public_key().public_bytes_raw())


def test_a_note_of_another_implementation_is_read() -> None:
    parsed = Verifier.parse(NEUMANN)
    assert str(parsed) == NEUMANN
    assert open_note(SIGNED, [parsed]) == PROBLEM


def test_a_checkpoint_comes_back_as_it_was_signed(signer: Ed25519PrivateKey) -> None:
    made = Checkpoint("a.example/log", 7, bytes(range(32)))
    note = sign(made.text, [(made.origin, signer)])
    assert note.startswith("a.example/log\n7\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\n— ")
    assert open_checkpoint(note, [verifier(signer)]) == made


def test_every_changed_byte_of_a_note_is_noticed(signer: Ed25519PrivateKey) -> None:
    note = sign(Checkpoint("a.example/log", 70, EMPTY_ROOT).text, [("a.example/log", signer)])
    for at, char in enumerate(note):
        for changed in (note[:at] + "x" + note[at + 1 :], note[:at] + note[at + 1 :]):
            if char != "x" and changed != note:
                with pytest.raises(NoteInvalid):
                    open_checkpoint(changed, [verifier(signer)])


def test_a_strangers_signature_says_nothing(signer: Ed25519PrivateKey) -> None:
    stranger = Ed25519PrivateKey.generate()
    text = Checkpoint("a.example/log", 1, EMPTY_ROOT).text
    with pytest.raises(NoteInvalid, match="no key that counts"):
        open_note(sign(text, [("a.example/log", stranger)]), [verifier(signer)])
    both = sign(text, [("witness.example", stranger), ("a.example/log", signer)])
    assert open_note(both, [verifier(signer)]) == text


def test_a_bad_signature_of_a_known_key_spoils_a_note(signer: Ed25519PrivateKey) -> None:
    other = Ed25519PrivateKey.generate()
    text = Checkpoint("a.example/log", 1, EMPTY_ROOT).text
    good = sign(text, [("a.example/log", other)])
    bad = base64.b64encode(verifier(signer).key_id + bytes(64)).decode()
    with pytest.raises(NoteInvalid, match="does not fit"):
        open_note(f"{good}— a.example/log {bad}\n", [verifier(other), verifier(signer)])


def test_a_checkpoint_of_another_log_is_refused(signer: Ed25519PrivateKey) -> None:
    """The same key under the log's name, over a text that says another origin."""
    note = sign(Checkpoint("b.example/log", 1, EMPTY_ROOT).text, [("a.example/log", signer)])
    with pytest.raises(NoteInvalid, match="another log"):
        open_checkpoint(note, [verifier(signer)])


@pytest.mark.parametrize(
    "text",
    [
        "a.example/log\n",
        "a.example/log\n01\nAA==\n",
        "a.example/log\n-1\n",
        f"a.example/log\n{2**63}\n",
        "a.example/log\n1\nAA==\n",
        "a.example/log\n1\nnot base64\n",
        "\n1\n",
        "a b\n1\n",
        "",
    ],
    ids=["short", "zero", "negative", "huge", "root", "base64", "nameless", "space", "empty"],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    root = base64.b64encode(EMPTY_ROOT).decode()
    with pytest.raises(NoteInvalid):
        Checkpoint.parse(text if text.count("\n") != 2 else f"{text}{root}\n")


@pytest.mark.parametrize(
    "vkey",
    ["", "a+b", NEUMANN.replace("c74f", "c74e"), NEUMANN.replace("ARpc", "Ahpc"), NEUMANN[:-4]],
    ids=["empty", "short", "id", "algorithm", "cut"],
)
def test_what_is_no_verifier_key_is_refused(vkey: str) -> None:
    with pytest.raises(NoteInvalid):
        Verifier.parse(vkey)


def test_a_note_of_a_hostile_size_is_refused_at_once(signer: Ed25519PrivateKey) -> None:
    with pytest.raises(NoteInvalid):
        open_note("x\n\n" + "— a AAAAAAAA\n" * 10_000, [verifier(signer)])
    with pytest.raises(NoteInvalid):
        open_note("x\n\n" + "— a AAAAAAAA\n" * 65, [verifier(signer)])


def test_the_keys_of_a_home_stay_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("home")
    first, again = LogKeys(Settings(home=home)), LogKeys(Settings(home=home))
    assert [str(each) for each in first.verifiers] == [str(each) for each in again.verifiers]
    assert (home / "keys" / "log.jwks").stat().st_mode & 0o777 == 0o600


def test_a_new_key_signs_beside_the_old_one(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Who kept the older verifier key can go on while the newer one becomes known."""
    homes = [tmp_path_factory.mktemp("home") for _ in range(2)]
    olds = [LogKeys(Settings(home=home)).verifiers[0] for home in homes]
    sets = [json.loads((home / "keys" / "log.jwks").read_text())["keys"] for home in homes]
    both = LogKeys(Settings(home=homes[0], log_keys=json.dumps({"keys": sets[1] + sets[0]})))
    note = both.sign(0, EMPTY_ROOT)
    assert [open_checkpoint(note, [old]).size for old in olds] == [0, 0]


@pytest.mark.parametrize("origin", ["", "two words", "a+b"])
def test_a_log_has_a_name_that_notes_can_bear(origin: str, settings: Settings) -> None:
    with pytest.raises(ServiceKeyUnusable):
        LogKeys(settings.model_copy(update={"log_origin": origin}))
