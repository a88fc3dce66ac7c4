"""`reprise keys` and `reprise sign`: what is shown is what is signed, and nothing else is."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from click.testing import Result
from joserfc.jwk import OKPKey
from joserfc.util import urlsafe_b64encode
from typer.testing import CliRunner

from service.auth import Principal
from service.catalog.models import Party
from service.catalog.parties import register_party
from service.catalog.possession import ROTATION, SUCCESSOR, require_statement
from service.catalog.schemas import NewParty
from service.cli import app
from service.consent.grants import add_signature, answer, visible_grant
from service.consent.plain_words import Unreadable, read
from tests.service.consent.test_mandates import given
from tests.stories import Granted, Owner, Story
from tests.training_story import TrainingStory

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def run(*arguments: str | Path, answer: str = "") -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], input=answer)


def spoken(result: Result) -> str:
    """What was said, whatever the terminal's width made of it."""
    return " ".join(result.stderr.split())


def key_file(tmp_path: Path, owner: Owner) -> Path:
    file = tmp_path / f"{owner.name}.jwk"
    file.write_text(json.dumps(owner.key.as_dict(private=True)))
    file.chmod(0o600)
    return file


def document(tmp_path: Path, payload: bytes, **more: Any) -> Path:
    file = tmp_path / "grant.json"
    file.write_text(json.dumps({"payload": urlsafe_b64encode(payload).decode(), **more}))
    return file


@pytest.mark.attack("symlink in a folder")
def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path, story: Story) -> None:
    file = tmp_path / "ada.jwk"
    made = run("keys", "new", file)
    assert made.exit_code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.read_bytes()
    assert json.loads(before)["d"] not in made.output
    again = run("keys", "new", file)
    assert (again.exit_code, file.read_bytes()) == (1, before)
    assert "never overwritten" in spoken(again)
    link = tmp_path / "link.jwk"
    link.symlink_to(tmp_path / "target.jwk")
    assert run("keys", "new", link).exit_code == 1
    proof = json.loads(run("keys", "proof", file, "--subject", "ada").stdout)
    who = Principal("ada", "artist")
    new = NewParty.model_validate({"kind": "artist", "name": "Ada", **proof})
    with story.database.transaction() as session:
        party = register_party(session, who, new)
        assert party.kid == json.loads(made.stdout)["kid"]
    successor = tmp_path / "second.jwk"
    run("keys", "new", successor)
    asked = json.loads(run("keys", "replace", successor, "--party", "pty_1", "--old", file).stdout)
    claims = {
        "party": "pty_1",
        "old_kid": party.kid,
        "new_kid": OKPKey.import_key(asked["public_key"]).thumbprint(),
    }
    require_statement(asked["proof"], asked["public_key"], SUCCESSOR, claims)
    require_statement(asked["authorization"], party.public_key, ROTATION, claims)
    recovery = run("keys", "replace", successor, "--party", "pty_1", "--old-kid", party.kid)
    assert "authorization" not in json.loads(recovery.stdout)
    assert run("keys", "replace", successor, "--party", "pty_1").exit_code == 1


def test_what_is_signed_is_shown_and_opens_the_grant(tmp_path: Path, story: Story) -> None:
    price = {"currency": "EUR", "per_remix": 150, "per_thousand_plays": 7, "recording_ppm": 1000000}
    ada, label = story.owner("Ada"), story.owner("Small Label", "label")
    track = story.track(ada, label)
    template = story.template(ada, track, territories=["DE"], commercial=True, price=price)
    grant_id, _ = story.grant(ada, template)
    with story.database.snapshot() as session:
        file = tmp_path / "grant.json"
        file.write_text(answer(visible_grant(session, ada.principal, grant_id)).model_dump_json())
    out = tmp_path / "signature.json"
    key = key_file(tmp_path, ada)
    refused = run("sign", file, "--key", key, "--out", out, answer="n\n")
    assert refused.exit_code == 1
    assert not out.exists()
    signed = run("sign", file, "--key", key, "--out", out, answer="y\n")
    assert signed.exit_code == 0, signed.output
    words = spoken(signed)
    for said in (
        "“Paper Lanterns” by Ada",
        "New part drums",
        "rock, funk; nothing else",
        "-10 to +10 %",
        "3 remixes",
        "Where DE",
        "Use commercial",
        "1.50 EUR",
        "0.07 EUR",
        f"50 % Ada ({ada.id})",
        f"50 % Small Label ({label.id})",
        f"Ada ({ada.id}), you",
        "Training a model not allowed",
    ):
        assert said in words, said
    assert set(json.loads(out.read_text())) == {"protected", "signature"}
    with story.database.transaction() as session:
        add_signature(session, ada.principal, grant_id, **json.loads(out.read_text()))
    by_label = run("sign", file, "--key", key_file(tmp_path, label), "--yes")
    with story.database.transaction() as session:
        add_signature(session, label.principal, grant_id, **json.loads(by_label.stdout))
    story.admit(Granted((ada, label), track, template, 1, grant_id), story.listener("l", "DE"))


def test_every_term_is_shown(story: Story) -> None:
    """A term that is signed and not shown would be the attack; so each has its line."""
    ada = story.owner("Ada")
    plain = story.grant(ada, story.template(ada, story.track(ada)))[1]
    terms = json.loads(plain)["authorization_details"]["terms"]
    shown = set(read(plain).lines)
    for name, other in (
        ("free_text", True),
        ("commercial", True),
        ("styles", ["jazz"]),
        ("tempo_percent", {"max": 3, "min": -3}),
        ("key_semitones", {"max": 1, "min": -1}),
        ("guidance", {"max": 3, "min": 1}),
        ("length_seconds", {"max": 300, "min": 1}),
        ("redo_seconds", {"max": 300, "min": 1}),
        ("quota_per_listener", 7),
        ("territories", ["FR"]),
        ("not_before", "2026-01-01T00:00:00Z"),
        ("not_after", "2036-01-01T00:00:00Z"),
        ("checkpoints", ["test-bass"]),
        ("part", "bass"),
        ("densities", ["busy"]),
        ("fills", True),
        ("swing", True),
    ):
        assert terms.get(name) != other
        document = json.loads(plain)
        details = document["authorization_details"]
        details["terms"][name] = other
        version = {"template": details["template"], "track": details["track"]["id"]}
        canonical = rfc8785.dumps({**version, "terms": details["terms"]})
        details["template_sha256"] = hashlib.sha256(canonical).hexdigest()
        changed = set(read(rfc8785.dumps(document)).lines)
        assert changed != shown, name


def _with(payload: bytes, path: tuple[str, ...], value: Any) -> bytes:
    document = json.loads(payload)
    inner = document
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return rfc8785.dumps(document)


@pytest.mark.attack("canonicalisation trick")
def test_what_must_not_be_signed_is_refused(tmp_path: Path, story: Story) -> None:
    ada = story.owner("Ada")
    payload = story.grant(ada, story.template(ada, story.track(ada)))[1]
    details = "authorization_details"
    title = (details, "track", "title")
    key = key_file(tmp_path, ada)
    for attack, words in (
        (payload + b"\n", "canonical"),
        (json.dumps(json.loads(payload)).encode(), "canonical"),
        (payload[:-1] + b',"exp":4102444800}', "canonical"),
        (payload.replace(b'"gen":1', b'"gen":1.0'), "canonical"),
        (payload.replace(b'"gen":1', b'"gen":' + b"9" * 400), "canonical"),
        (payload.replace(b'"gen":1', b'"gen":1e999'), "canonical"),
        (_with(payload, (details, "also"), "everything"), "also"),
        (_with(payload, ("exp",), "4102444800"), "valid integer"),
        (_with(payload, (details, "terms", "commercial"), "no"), "valid boolean"),
        (_with(payload, (details, "training"), "allowed"), "training"),
        (_with(payload, (details, "voice_cloning"), True), "voice_cloning"),
        (_with(payload, title, "Song\x1b[2K\x1b[1A"), "U+001B"),
        (_with(payload, title, "Song\u202e"), "U+202E"),
        (_with(payload, title, "Song\nUse  not commercial"), "U+000A"),
        (_with(payload, ("exp",), 10**14), "time"),
        (_with(payload, (details, "type"), "other"), "no grant"),
        (_with(payload, (details, "terms", "commercial"), True), "terms are not those"),
        (_with(payload, (details, "template"), "tpl"), "no version"),
        (_with(payload, (details, "template"), "tpl@" + "9" * 5000), "no version"),
        (_with(payload, (details, "track", "id"), "another"), "terms are not those"),
        (_with(payload, (details, "ownership", "sha256"), "0" * 64), "shares are not those"),
        (b"[]", "no grant"),
        (b"7", "no grant"),
        (b"[" * 100_000, ""),
        (b"\xff\xfe", ""),
        (b"", ""),
    ):
        out = tmp_path / "out.json"
        refused = run("sign", document(tmp_path, attack), "--key", key, "--out", out, "--yes")
        assert refused.exit_code == 1, attack[:60]
        assert refused.exception is None or isinstance(refused.exception, SystemExit)
        assert words in spoken(refused), (attack[:60], spoken(refused))
        assert not out.exists()
        with pytest.raises(Unreadable):
            read(attack)
    for text in ("", "no JSON", '{"payload": "ä"}', "[" * 100_000):
        (tmp_path / "bad.json").write_text(text)
        refused = run("sign", tmp_path / "bad.json", "--key", key, "--yes")
        assert refused.exit_code == 1
        assert isinstance(refused.exception, SystemExit)
    assert run("sign", tmp_path / "none.json", "--key", key, "--yes").exit_code == 1
    # Terminal markup in a name is text.
    shown = run("sign", document(tmp_path, _with(payload, title, "[red]Song[/]")), "--key", key)
    assert "[red]Song[/]" in spoken(shown)


def test_the_answers_own_words_are_not_believed(tmp_path: Path, story: Story) -> None:
    ada = story.owner("Ada")
    payload = story.grant(ada, story.template(ada, story.track(ada), commercial=True))[1]
    file = document(tmp_path, payload, terms={"commercial": False}, payload_sha256="0" * 64)
    shown = run("sign", file, "--key", key_file(tmp_path, ada), "--yes")
    assert "Use commercial" in spoken(shown)
    assert "0" * 64 not in spoken(shown)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        json.dumps(OKPKey.generate_key("Ed25519").as_dict(private=False)),
        json.dumps(OKPKey.generate_key("X25519").as_dict(private=True)),
        json.dumps({"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0"}),
    ],
    ids=["nothing", "no key", "a list", "public", "X25519", "oct"],
)
def test_other_key_files_sign_nothing(tmp_path: Path, story: Story, content: str) -> None:
    ada = story.owner("Ada")
    payload = story.grant(ada, story.template(ada, story.track(ada)))[1]
    key = tmp_path / "key.jwk"
    key.write_text(content)
    refused = run("sign", document(tmp_path, payload), "--key", key, "--yes")
    assert refused.exit_code == 1
    assert isinstance(refused.exception, SystemExit)
    assert "c2VjcmV0" not in refused.output


def test_training_and_mandates_are_signed_too(tmp_path: Path, story: Story) -> None:
    training = TrainingStory(story)
    ada, label = story.owner("Ada"), story.owner("Small Label", "label")
    track = story.track(ada)
    _, payload = training.grant(ada, track)
    key = key_file(tmp_path, ada)
    signed = run("sign", document(tmp_path, payload), "--key", key, "--yes")
    assert "ALLOWED: the adapter ada-drums of test-drums" in spoken(signed)
    template = story.template(ada, track)
    grant = story.grant(ada, template)
    _, text = given(story, ada, label)
    shown = run("sign", document(tmp_path, text), "--key", key, "--yes")
    assert "EVERY track" in spoken(shown)
    assert f"Who may sign Small Label ({label.id})" in spoken(shown)
    mandate = tmp_path / "mandate.json"
    mandate.write_text(json.dumps({"payload": urlsafe_b64encode(text).decode()}))
    agents = key_file(tmp_path, label)
    under = run(
        "sign", document(tmp_path, grant[1]), "--key", agents, "--mandate", mandate, "--yes"
    )
    assert under.exit_code == 0, under.output
    made = json.loads(under.stdout)
    assert made["on_behalf_of"] == ada.id
    with story.database.transaction() as session:
        assert add_signature(session, label.principal, grant[0], **made).state == "open"
        assert session.get_one(Party, ada.id).kid != label.key.thumbprint()
    for wrong in (document(tmp_path, payload), mandate):
        refused = run("sign", wrong, "--key", agents, "--mandate", mandate, "--yes")
        assert refused.exit_code == 1


def test_a_key_that_the_document_does_not_name_is_pointed_out(tmp_path: Path, story: Story) -> None:
    ada, eve = story.owner("Ada"), story.owner("Eve")
    payload = story.grant(ada, story.template(ada, story.track(ada)))[1]
    key = key_file(tmp_path, eve)
    key.chmod(0o644)
    shown = run("sign", document(tmp_path, payload), "--key", key, "--yes")
    assert "none of those the document was made for" in spoken(shown)
    assert "Others can read" in spoken(shown)


def test_a_signature_never_takes_the_place_of_what_was_read(tmp_path: Path, story: Story) -> None:
    """Not even by another name: the key's file may be its only copy."""
    ada = story.owner("Ada")
    _, payload = story.grant(ada, story.template(ada, story.track(ada)))
    key, asked = key_file(tmp_path, ada), document(tmp_path, payload)
    other = tmp_path / "other.jwk"
    other.hardlink_to(key)
    before = (key.read_bytes(), asked.read_bytes())
    for out in (key, asked, other):
        refused = run("sign", asked, "--key", key, "--out", out, "--yes")
        assert refused.exit_code == 1
        assert "another file" in spoken(refused)
    assert (key.read_bytes(), asked.read_bytes()) == before
    out = tmp_path / "signature.json"
    assert run("sign", asked, "--key", key, "--out", out, "--yes").exit_code == 0
    assert run("sign", asked, "--key", key, "--out", out, "--yes").exit_code == 0
