"""The service's keys: made once, readable by nobody else, and never of another kind."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from joserfc.jwk import ECKey, OKPKey
from pydantic import SecretStr

from service.auth import ServiceKeys, mint_token
from service.auth.keys import ServiceKeyUnusable, load_or_make
from service.settings import Settings


def test_made_on_first_use_with_mode_0600_and_kept(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    first, second = ServiceKeys.load(settings), ServiceKeys.load(settings)
    assert first.job.thumbprint() == second.job.thumbprint()
    assert first.bearer is not None
    assert first.job.thumbprint() != first.bearer.thumbprint()
    files = list((tmp_path / "home" / "keys").iterdir())
    assert {file.name for file in files} == {"service.jwk", "bearer.jwk"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_processes_that_start_together_share_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: load_or_make(tmp_path / "k" / "a.jwk"), range(8)))
    assert len({key.thumbprint() for key in made}) == 1
    assert [file.name for file in (tmp_path / "k").iterdir()] == ["a.jwk"]


def test_a_configured_key_is_used_and_not_shown(tmp_path: Path) -> None:
    key = OKPKey.generate_key("Ed25519")
    settings = Settings(home=tmp_path, service_key=SecretStr(json.dumps(key.as_dict(private=True))))
    keys = ServiceKeys.load(settings)
    assert keys.job.thumbprint() == key.thumbprint()
    secret = str(key.as_dict(private=True)["d"])
    assert secret not in repr(settings) + repr(keys)


def test_other_keys_are_refused_without_being_shown(tmp_path: Path) -> None:
    secret = str(ECKey.generate_key("P-256").as_dict(private=True)["d"])
    for text in (
        json.dumps(ECKey.generate_key("P-256").as_dict(private=True)),
        json.dumps(OKPKey.generate_key("Ed448").as_dict(private=True)),
        json.dumps(OKPKey.generate_key("Ed25519").as_dict(private=False)),
        secret,
        "{}",
        "[]",
    ):
        settings = Settings(home=tmp_path, service_key=SecretStr(text))
        with pytest.raises(ServiceKeyUnusable) as refusal:
            ServiceKeys.load(settings)
        assert secret not in str(refusal.value)


def test_no_development_tokens_beside_an_issuer(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, jwks_url="https://issuer.example/jwks")
    with pytest.raises(ValueError, match="OIDC"):
        mint_token(ServiceKeys.load(settings), settings, "listener", "lena")
