"""A bearer names the app that it was minted for; a listener is another in each app."""

from typing import Any

import pytest
from joserfc import jwt

from service.auth import ServiceKeys, TokenInvalid, mint_token, verify_bearer
from service.database import now
from service.settings import Settings


@pytest.fixture
def settings(tmp_path: Any) -> Settings:
    return Settings(home=tmp_path)


def signed(keys: ServiceKeys, settings: Settings, **claims: Any) -> str:
    issued = int(now().timestamp())
    body = {
        "iss": settings.issuer,
        "aud": settings.audience,
        "sub": "lena",
        "role": "listener",
        "exp": issued + 600,
        **claims,
    }
    assert keys.bearer is not None
    header = {"alg": "Ed25519", "typ": "at+jwt", "kid": keys.bearer.kid}
    return jwt.encode(header, body, keys.bearer, algorithms=["Ed25519"])


def test_without_a_name_it_is_the_issuers_own(settings: Settings, keys: ServiceKeys) -> None:
    plain = verify_bearer(keys, settings, mint_token(keys, settings, "listener", "lena"))
    assert (plain.app, plain.subject) == (settings.issuer, "lena")
    named = mint_token(keys, settings, "listener", "lena", app=settings.issuer)
    assert verify_bearer(keys, settings, named) == plain


def test_a_listener_is_another_in_each_app(settings: Settings, keys: ServiceKeys) -> None:
    """Also where the issuer gives one `sub` to all apps, and whatever the names are made of."""
    seen = set()
    for app, subject in (("a", "lena"), ("b", "lena"), (None, "lena"), ("b", "lena a")):
        token = mint_token(keys, settings, "listener", subject, app=app)
        who = verify_bearer(keys, settings, token)
        assert who.app == (app or settings.issuer)
        seen.add(who.subject)
    assert len(seen) == 4
    # No name that an issuer may give is that of a listener of an app.
    with pytest.raises(TokenInvalid):
        verify_bearer(keys, settings, signed(keys, settings, sub="lena\x1fa"))


@pytest.mark.parametrize("role", ["artist", "label", "operator"])
def test_an_owner_is_the_same_in_every_app(
    settings: Settings, keys: ServiceKeys, role: Any
) -> None:
    who = verify_bearer(keys, settings, mint_token(keys, settings, role, "ada", app="a"))
    assert (who.subject, who.app) == ("ada", "a")


@pytest.mark.parametrize("claim", ["client_id", "azp"])
def test_both_of_the_standards_names_are_read(
    settings: Settings, keys: ServiceKeys, claim: str
) -> None:
    assert verify_bearer(keys, settings, signed(keys, settings, **{claim: "shop"})).app == "shop"


@pytest.mark.parametrize(
    "claims",
    [
        {"client_id": "a", "azp": "b"},
        {"client_id": ""},
        {"azp": "with space"},
        {"azp": "x" * 101},
        {"client_id": 7},
        {"azp": None},
        {"azp": ["a"]},
        {"client_id": "é"},
        {"client_id": "a\n"},
        {"azp": "x" * 100, "sub": "y" * 200},
    ],
    ids=lambda claims: "-".join(claims) + str(len(str(claims))),
)
def test_names_that_are_none(settings: Settings, keys: ServiceKeys, claims: dict[str, Any]) -> None:
    with pytest.raises(TokenInvalid):
        verify_bearer(keys, settings, signed(keys, settings, **claims))


def test_no_token_is_minted_for_a_name_that_is_none(settings: Settings, keys: ServiceKeys) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        mint_token(keys, settings, "listener", "lena", app="a b")
