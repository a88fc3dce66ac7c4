"""Keys that the service keeps: sealed at rest, opened only by their own key-encryption key."""

import json
from pathlib import Path

import pytest
from joserfc.jwk import OKPKey
from joserfc.util import urlsafe_b64decode
from pydantic import SecretStr

from service.auth.custody import Custody, CustodyBroken
from service.auth.keys import ServiceKeyUnusable
from service.settings import Settings


def _settings(home: Path, keys: str | None = None) -> Settings:
    return Settings(home=home, custody_keys=None if keys is None else SecretStr(keys))


def _key() -> OKPKey:
    return OKPKey.generate_key("Ed25519")


def test_what_is_sealed_opens_again_and_shows_nothing(tmp_path: Path) -> None:
    custody, key = Custody(_settings(tmp_path)), _key()
    first, name = custody.seal(key)
    second, _ = custody.seal(key)
    secret = urlsafe_b64decode(str(key.as_dict(private=True)["d"]).encode())
    assert secret not in first
    assert first != second
    opened = Custody(_settings(tmp_path)).open(first, name, key.as_dict(private=False))
    assert opened.as_dict(private=True)["d"] == key.as_dict(private=True)["d"]
    assert (tmp_path / "keys" / "custody.jwks").stat().st_mode & 0o777 == 0o600


@pytest.mark.attack("stolen or lost key")
def test_a_changed_or_moved_row_opens_nothing(tmp_path: Path) -> None:
    custody, key, other = Custody(_settings(tmp_path)), _key(), _key()
    sealed, name = custody.seal(key)
    public = key.as_dict(private=False)
    for at in (0, 12, len(sealed) - 1):
        changed = bytearray(sealed)
        changed[at] ^= 1
        with pytest.raises(CustodyBroken):
            custody.open(bytes(changed), name, public)
    for broken in (b"", sealed[:12], sealed[:-1]):
        with pytest.raises(CustodyBroken):
            custody.open(broken, name, public)
    with pytest.raises(CustodyBroken):
        custody.open(sealed, name, other.as_dict(private=False))
    with pytest.raises(CustodyBroken, match="not configured"):
        Custody(_settings(tmp_path / "elsewhere")).open(sealed, name, public)


def test_a_new_key_in_front_seals_and_the_old_still_opens(tmp_path: Path) -> None:
    running, key = Custody(_settings(tmp_path)), _key()
    sealed, old = running.seal(key)
    new = Custody(_settings(tmp_path)).renew()
    assert new != old
    # The service that has run all along notices by itself.
    fresh, name = running.seal(key)
    assert name == new
    public = key.as_dict(private=False)
    assert running.open(sealed, old, public) is not None
    assert Custody(_settings(tmp_path)).open(fresh, new, public) is not None
    assert Custody(_settings(tmp_path)).forget({old}) == 0
    assert Custody(_settings(tmp_path)).forget(set()) == 1
    with pytest.raises(CustodyBroken):
        Custody(_settings(tmp_path)).open(sealed, old, public)


def test_a_configured_set_is_the_operators(tmp_path: Path) -> None:
    Custody(_settings(tmp_path / "a"))
    stored = (tmp_path / "a" / "keys" / "custody.jwks").read_text()
    configured = _settings(tmp_path / "b", stored)
    custody, key = Custody(configured), _key()
    sealed, name = custody.seal(key)
    assert name == json.loads(stored)["keys"][0]["kid"]
    assert custody.open(sealed, name, key.as_dict(private=False)) is not None
    assert not (tmp_path / "b").exists()
    for change in (custody.renew, lambda: custody.forget(set())):
        with pytest.raises(ServiceKeyUnusable):
            change()
    assert stored not in repr(configured)


@pytest.mark.parametrize(
    "keys",
    ["", "[]", "{}", '{"keys": []}', '{"keys": [{"kty": "oct", "k": "c2hvcnQ"}]}', '{"keys": 7}'],
)
def test_other_sets_are_refused_without_showing_them(tmp_path: Path, keys: str) -> None:
    with pytest.raises(ServiceKeyUnusable) as refused:
        Custody(_settings(tmp_path, keys))
    assert "c2hvcnQ" not in str(refused.value)
