"""Exporting over HTTP: who may, what it says of a grant; and the command that checks it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from joserfc.jwk import OctKey, OKPKey
from typer.testing import CliRunner

from service.auth.keys import ServiceKeyUnusable
from service.auth.seal import SealKeys, public_members
from service.catalog.schemas import NewShare
from service.cli import app
from service.consent import closing
from service.consent.export.checking import Report, read_keys
from service.consent.export.document import MEDIA_TYPE, ExportUnreadable
from service.consent.ownership import changing
from service.settings import Settings
from tests.service.consent.export.conftest import (
    OPERATOR,
    Document,
    Exported,
    export,
    jwks,
    resealed,
    whole_story,
)
from tests.stories import Story

Said = Callable[[Report], dict[str, str]]
SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_a_grant_leaves_as_one_document_that_holds(
    story: Story, client: TestClient, said: Said
) -> None:
    granted = whole_story(story)
    url = f"/v1/grants/{granted.grant_id}/export"
    seals = client.get("/.well-known/reprise-seal-keys.json").json()
    assert all("d" not in key for key in seals["keys"])
    for who in (*(owner.principal for owner in granted.owners), OPERATOR):
        answer = client.get(url, headers=story.headers(who))
        assert answer.status_code == 200
        assert answer.headers["content-type"] == MEDIA_TYPE
        assert granted.grant_id in answer.headers["content-disposition"]
        assert answer.headers["cache-control"] == "no-store"
    taken = Exported(answer.json(), granted, jwks(*granted.owners), seals)
    report = taken.check(answer.content, keys=taken.keys, service_keys=seals)
    assert said(report) == {}
    assert len(taken.document["signatures"]) == 3
    # Nothing of who is behind the parties, and no secret, is in it.
    for hidden in ("subject", '"d"', granted.owners[0].principal.subject):
        assert hidden not in answer.text
    stranger = story.owner("Eve").principal
    assert client.get(url, headers=story.headers(stranger)).status_code == 404
    assert client.get(url, headers=story.headers(story.listener())).status_code == 403
    assert client.get(url).status_code == 401
    unknown = client.get("/v1/grants/grt_none/export", headers=story.headers(OPERATOR))
    assert unknown.status_code == 404


@SQLITE
def test_it_says_what_became_of_the_grant(story: Story, said: Said) -> None:
    owners = (story.owner("Ada"), story.owner("Small Label", "label"))
    track = story.track(*owners)
    template = story.template(owners[0], track)
    grant_id, payload = story.grant(owners[0], template)

    def found() -> dict[str, str]:
        document = export(story, owners[0].principal, grant_id)
        return said(Exported(document, None, {}, {}).check())  # type: ignore[arg-type]

    assert set(found()) == {"signatures", "signature of Ada", "signature of Small Label", "state"}
    story.sign(owners[0], grant_id, payload)
    assert set(found()) == {"signatures", "signature of Small Label", "state"}
    story.sign(owners[1], grant_id, payload)
    assert found() == {}
    with story.database.transaction() as session:
        closing.revoke(session, owners[1].principal, grant_id)
    assert set(found()) == {"state"}
    assert found()["state"].startswith("it was revoked since")


@SQLITE
def test_a_superseded_grant_shows_the_ownership_it_was_signed_under(
    story: Story, said: Said
) -> None:
    granted = story.granted()
    ada, label = granted.owners
    before = export(story, ada.principal, granted.grant_id)
    new = [NewShare(party_id=ada.id, side="recording", ppm=1_000_000)]
    with story.database.transaction() as session:
        changing.propose(session, OPERATOR, granted.track_id, new)
    for owner in granted.owners:
        with story.database.transaction() as session:
            changing.agree(session, owner.principal, granted.track_id, 2)
    # Who has sold its share keeps what it signed.
    after = export(story, label.principal, granted.grant_id)
    assert after["ownership"] == before["ownership"]
    found = said(Exported(after, granted, {}, {}).check())
    assert set(found) == {"state"}
    assert "superseded" in found["state"]


# The service's sealing keys ----------------------------------------------------------------------


def test_a_new_sealing_key_goes_in_front_and_the_old_one_stays_known(
    exported: Exported, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path)
    first = SealKeys(settings)
    file = tmp_path / "keys" / "seal.jwks"
    assert file.stat().st_mode & 0o777 == 0o600
    assert SealKeys(settings).published() == first.published()
    fresh = OKPKey.generate_key("Ed25519")
    both = {"keys": [fresh.as_dict(private=True), first.sealing.as_dict(private=True)]}
    turned = SealKeys(Settings(home=tmp_path, seal_keys=json.dumps(both)))
    assert turned.sealing.thumbprint() == fresh.thumbprint()
    assert len(turned.published()["keys"]) == 2
    old = resealed(exported.copy(), first.sealing)
    assert exported.check(old, service_keys=turned.published()).holds
    assert not exported.check(old, service_keys={"keys": turned.published()["keys"][:1]}).holds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"keys": []}',
        '{"keys": [7]}',
        json.dumps({"keys": [public_members(OKPKey.generate_key("Ed25519"))]}),
        json.dumps({"keys": [OctKey.generate_key(256).as_dict(private=True)]}),
        json.dumps({"keys": [OKPKey.generate_key("X25519").as_dict(private=True)]}),
    ],
    ids=["nothing", "no set", "no key", "a number", "public", "oct", "X25519"],
)
def test_a_sealing_key_of_another_kind_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ServiceKeyUnusable) as refusal:
        SealKeys(Settings(home=tmp_path, seal_keys=text))
    assert '"d"' not in str(refusal.value)


# The keys that are given, and the command --------------------------------------------------------

KEY = public_members(OKPKey.generate_key("Ed25519"))


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"keys": {}},
        {"keys": []},
        {"keys": [7]},
        {"keys": [OKPKey.generate_key("Ed25519").as_dict(private=True)]},
        {"keys": [{**KEY, "party": 7}]},
        {"keys": [{**KEY, "kid": "another"}]},
        {"keys": [{**KEY, "x": "A" * 43}]},
        {"keys": [{**KEY, "kty": "oct", "k": "AAAA"}]},
        {"keys": [{**KEY, "party": "pty_a"}, {**KEY, "party": "pty_b"}]},
        {"keys": [KEY, {**KEY, "party": "pty_b"}]},
    ],
)
def test_what_is_no_set_of_public_keys_is_not_used(document: object) -> None:
    with pytest.raises(ExportUnreadable):
        read_keys(json.dumps(document).encode())


def run(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["verify-grant", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def written(folder: Path, name: str, document: Document) -> Path:
    path = folder / name
    path.write_text(json.dumps(document))
    return path


def test_the_command_says_what_holds(exported: Exported, tmp_path: Path) -> None:
    file = written(tmp_path, "grant.json", exported.document)
    keys = written(tmp_path, "keys.json", exported.keys)
    service = written(tmp_path, "service.json", exported.service_keys)
    code, shown, _ = run(file, "--keys", keys, "--service-keys", service)
    assert code == 0
    for words in ("Paper Lanterns", "It holds", "since the export", "DE, AT"):
        assert words in shown
    code, shown, _ = run(file, "--keys", keys, "--json")
    document = json.loads(shown)
    assert (code, document["holds"]) == (0, True)
    assert {"name": "template", "outcome": "holds"}.items() <= document["checks"][4].items()


def test_the_command_ends_with_one_where_something_fails(
    exported: Exported, tmp_path: Path
) -> None:
    stripped = exported.copy()
    del stripped["signatures"][1]
    # A name that would steer the terminal stays what it is: text.
    stripped["issuer"]["name"] = "\x1b[2Jreprise\u202e"
    file = written(tmp_path, "grant.json", resealed(stripped))
    code, shown, _ = run(file)
    assert code == 1
    assert "It does not hold" in shown
    assert "What the owners signed" not in shown
    assert "\x1b[2J" not in shown and "\u202e" not in shown
    code, shown, _ = run(file, "--json")
    assert (code, json.loads(shown)["holds"]) == (1, False)


def test_the_command_ends_with_two_where_a_file_cannot_be_read(
    exported: Exported, tmp_path: Path
) -> None:
    file = written(tmp_path, "grant.json", exported.document)
    secret = {"keys": [OKPKey.generate_key("Ed25519").as_dict(private=True)]}
    private = written(tmp_path, "private.json", secret)
    for arguments in ((tmp_path / "none.json",), (tmp_path,), (file, "--keys", private)):
        code, _, told = run(*arguments)
        assert code == 2
        assert secret["keys"][0]["d"] not in told
