"""No token, key or password reaches a log line, from our code or a library's."""

import json
import logging
from typing import Any

import pytest
import structlog
from joserfc.jwk import OKPKey

from service.auth import ServiceKeys, mint_token
from service.logs import REDACTED, configure_logs, redact
from service.settings import Settings


@pytest.fixture
def token(keys: ServiceKeys, settings: Settings) -> str:
    return mint_token(keys, settings, "listener", "lena")


def clean(**event: Any) -> dict[str, Any]:
    return dict(redact(None, "info", dict(event)))


@pytest.mark.attack("secrets in logs or answers")
def test_tokens_are_taken_out_wherever_they_stand(token: str) -> None:
    for event in (
        {"authorization": f"Bearer {token}"},
        {"token": token},
        {"headers": {"Authorization": f"Bearer {token}"}},
        {"detail": f"refused {token}, sorry"},
        {"arguments": [("x", token)]},
        {"exception": f"Traceback\n  token={token}\n"},
        {"header": "bearer abcdefghijklmnop"},
    ):
        found = json.dumps(clean(**event), default=str)
        assert token not in found
        assert token.split(".")[1] not in found
        assert REDACTED in found


def test_keys_and_passwords_too() -> None:
    private = OKPKey.generate_key("Ed25519").as_dict(private=True)
    for event in (
        {"key": private},
        {"text": json.dumps(private)},
        {"service_key": private["d"]},
        {"url": f"postgresql+psycopg://reprise:{private['d']}@db/reprise"},
        {"broker": f"redis://:{private['d']}@broker:6379/0"},
    ):
        assert str(private["d"]) not in json.dumps(clean(**event))


def test_what_an_operator_needs_stays() -> None:
    event = {"job_id": "job_1", "token_id": "tok_1", "lease_token": 3, "url": "http://x:80/y"}
    assert clean(**event) == event


def test_a_megabyte_is_cut() -> None:
    assert len(clean(detail="x" * 1_000_000)["detail"]) < 5000
    assert clean(body=b"x" * 1000) == {"body": "<1000 bytes>"}


def test_our_lines_and_the_libraries_are_json_without_secrets(
    token: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs()
    configure_logs()
    structlog.get_logger("ours").info("hello", token=token, detail=f"got {token}")
    logging.getLogger("theirs").warning("got %s", token)
    try:
        raise ValueError(token)
    except ValueError:
        structlog.get_logger("ours").exception("broke")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"][:5] for line in lines] == ["hello", f"got {REDACTED}"[:5], "broke"]
    assert token.split(".")[1] not in json.dumps(lines)
    assert "ValueError" in lines[2]["exception"]
