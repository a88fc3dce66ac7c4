"""Clocks that differ, both ways: a little is borne, more is refused."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from joserfc import jwt

from service.auth import ServiceKeys
from service.auth.bearer import CLOCK_SKEW_SECONDS as BEARER_SKEW
from service.consent import gate, job_tokens, standing
from service.consent.refusals import (
    GrantExpired,
    GrantNotYetValid,
    JobDeadlinePassed,
    JobTokenExpired,
    JobTokenInvalid,
)
from service.database import now
from service.settings import Settings
from tests.stories import Story

SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
Asked = Callable[..., tuple[int, str]]


@pytest.fixture
def asked(client: TestClient, keys: ServiceKeys, settings: Settings) -> Asked:
    def ask(**times: float) -> tuple[int, str]:
        moment = time.time()
        claims = {
            "iss": settings.issuer,
            "aud": settings.audience,
            "sub": "lena",
            "role": "artist",
            "exp": int(moment + 600),
            **{name: int(moment + drift) for name, drift in times.items()},
        }
        assert keys.bearer is not None
        token = jwt.encode({"alg": "Ed25519"}, claims, keys.bearer, algorithms=["Ed25519"])
        answer = client.get("/v1/tracks", headers={"Authorization": f"Bearer {token}"})
        return answer.status_code, answer.json().get("type", "").removeprefix("/problems/")

    return ask


@pytest.mark.attack("clock skew")
@SQLITE
@pytest.mark.parametrize(
    ("claim", "drift", "expected"),
    [
        ("exp", -(BEARER_SKEW - 10), (200, "")),
        ("exp", -(BEARER_SKEW + 10), (401, "token-expired")),
        ("nbf", BEARER_SKEW - 10, (200, "")),
        ("nbf", BEARER_SKEW + 10, (401, "token-invalid")),
        ("iat", BEARER_SKEW - 10, (200, "")),
        ("iat", BEARER_SKEW + 10, (401, "token-invalid")),
    ],
)
def test_bearer_tokens(asked: Asked, claim: str, drift: float, expected: tuple[int, str]) -> None:
    assert asked(**{claim: drift}) == expected


@pytest.mark.attack("clock skew")
@SQLITE
@pytest.mark.parametrize(
    ("drift", "refusal"),
    [
        (job_tokens.LIFETIME_SECONDS - 5, None),
        (job_tokens.LIFETIME_SECONDS + 30, JobTokenExpired),
        (-2, None),
        (-60, JobTokenInvalid),
    ],
)
def test_a_job_token_that_is_used_by_another_clock(
    story: Story, monkeypatch: pytest.MonkeyPatch, drift: float, refusal: type[Exception] | None
) -> None:
    admission = story.admit(story.granted())
    moment = time.time() + drift
    monkeypatch.setattr("time.time", lambda: moment)

    def consume() -> None:
        with story.database.transaction() as session:
            gate.consume(session, story.keys, admission.token, admission.claims.job)

    if refusal is None:
        consume()
        return
    with pytest.raises(refusal):
        consume()


@pytest.mark.attack("clock skew")
@SQLITE
def test_a_stage_is_bound_by_the_deadline_by_whatever_clock(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    admission = story.admit(story.granted())
    with story.database.transaction() as session:
        gate.consume(session, story.keys, admission.token, admission.claims.job)
    assert admission.choices is not None
    choices = admission.choices.model_dump(mode="json")

    def permit() -> Any:
        with story.database.snapshot() as session:
            return gate.permit(session, story.keys, admission.token, "mix", choices=choices)

    deadline = admission.claims.deadline
    monkeypatch.setattr(gate, "now", lambda: deadline - timedelta(seconds=1))
    permit()
    monkeypatch.setattr(gate, "now", lambda: deadline)
    with pytest.raises(JobDeadlinePassed):
        permit()


@pytest.mark.attack("clock skew")
@SQLITE
@pytest.mark.parametrize(
    ("drift", "refusal"),
    [
        (timedelta(seconds=-90), GrantNotYetValid),
        (timedelta(days=29), None),
        (timedelta(days=31), GrantExpired),
    ],
)
def test_the_dates_of_a_grant_bear_no_drift(
    story: Story,
    monkeypatch: pytest.MonkeyPatch,
    drift: timedelta,
    refusal: type[Exception] | None,
) -> None:
    granted = story.granted()
    moment = now() + drift
    monkeypatch.setattr(standing, "now", lambda: moment)
    monkeypatch.setattr(gate, "now", lambda: moment)
    if refusal is None:
        story.admit(granted)
        return
    with pytest.raises(refusal):
        story.admit(granted)
