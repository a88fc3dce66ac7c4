"""Attacks on job tokens: whatever is not exactly what the gate minted for this job is refused."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey
from joserfc.util import urlsafe_b64decode, urlsafe_b64encode

from service.auth import ServiceKeys
from service.consent import closing, gate, job_tokens
from service.consent.models import TokenUse
from service.consent.refusals import (
    ChoicesChanged,
    ConsentRevoked,
    JobDeadlinePassed,
    JobTokenExpired,
    JobTokenInvalid,
    JobTokenReplayed,
    StageNotPermitted,
)
from service.database import now
from service.permit import Permit
from service.templates.choices import Choices
from tests.stories import Story

STAGES = job_tokens.REMIX_STAGES


def consume(story: Story, token: str, job_id: str) -> job_tokens.JobClaims:
    with story.database.transaction() as session:
        return gate.consume(session, story.keys, token, job_id)


def permit(story: Story, token: str, stage: str, choices: dict[str, Any] | None) -> Permit:
    with story.database.snapshot() as session:
        return gate.permit(session, story.keys, token, stage, choices=choices)


def running(story: Story, **settled: Any) -> tuple[gate.Admission, dict[str, Any]]:
    """An accepted job's admission and its stored choices."""
    admission = story.admit(story.granted(), **settled)
    consume(story, admission.token, admission.claims.job)
    assert admission.choices is not None
    return admission, admission.choices.model_dump(mode="json")


def test_every_stage_gets_its_permit(story: Story) -> None:
    admission, choices = running(story)
    for stage in STAGES:
        given = permit(story, admission.token, stage, choices)
        assert (given.stage, given.job_id) == (stage, admission.claims.job)
        assert given.track_id == admission.claims.trk
        assert given.valid_until == admission.claims.deadline
        assert given.checkpoints == dict(admission.claims.ckpt)


@pytest.mark.attack("job token replayed")
def test_a_token_is_used_once(story: Story) -> None:
    admission, _ = running(story)
    with pytest.raises(JobTokenReplayed):
        consume(story, admission.token, admission.claims.job)


@pytest.mark.attack("token for another listener or job")
def test_a_token_is_for_its_own_job(story: Story) -> None:
    admission = story.admit(story.granted())
    with pytest.raises(JobTokenInvalid):
        consume(story, admission.token, "job_other")


@pytest.mark.attack("job token replayed")
def test_a_second_token_for_a_job_is_a_replay(story: Story) -> None:
    admission, _ = running(story)
    claims = admission.claims.model_copy(update={"jti": "tok_another"})
    with pytest.raises(JobTokenReplayed):
        consume(story, job_tokens.mint(story.keys, claims), claims.job)


@pytest.mark.attack("job token replayed")
def test_a_token_that_was_never_accepted_opens_no_stage(story: Story) -> None:
    admission = story.admit(story.granted())
    assert admission.choices is not None
    with pytest.raises(JobTokenInvalid):
        permit(story, admission.token, "separate", admission.choices.model_dump(mode="json"))


def test_a_rolled_back_acceptance_leaves_the_token_unused(story: Story) -> None:
    admission = story.admit(story.granted())

    class Broken(Exception):
        pass

    with pytest.raises(Broken), story.database.transaction() as session:
        gate.consume(session, story.keys, admission.token, admission.claims.job)
        raise Broken
    consume(story, admission.token, admission.claims.job)


@pytest.mark.attack("expired")
def test_an_expired_token_is_not_accepted(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    past = now() - timedelta(seconds=job_tokens.LIFETIME_SECONDS + 60)
    monkeypatch.setattr(gate, "now", lambda: past)
    admission = story.admit(story.granted())
    monkeypatch.undo()
    with pytest.raises(JobTokenExpired):
        consume(story, admission.token, admission.claims.job)


@pytest.mark.attack("expired")
def test_expiry_bounds_admission_only_and_the_deadline_the_rest(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    admission, choices = running(story)
    beyond_exp = now() + timedelta(seconds=job_tokens.LIFETIME_SECONDS + 60)
    monkeypatch.setattr(gate, "now", lambda: beyond_exp)
    monkeypatch.setattr("time.time", lambda: beyond_exp.timestamp())
    permit(story, admission.token, "mix", choices)
    monkeypatch.undo()
    monkeypatch.setattr(gate, "now", lambda: admission.claims.deadline)
    with pytest.raises(JobDeadlinePassed):
        permit(story, admission.token, "mix", choices)


@pytest.mark.parametrize("stage", ["ingest", "upload", "listen", "everything", ""])
@pytest.mark.attack("stage skipped or not granted")
def test_a_stage_that_was_not_granted(story: Story, stage: str) -> None:
    admission, choices = running(story)
    with pytest.raises(StageNotPermitted):
        permit(story, admission.token, stage, choices)


@pytest.mark.parametrize(
    "change",
    [
        {"style": "funk"},
        {"tempo_percent": 5.0},
        {"key_semitones": 1},
        {"seed": 1},
        {"guidance": 2.0},
        {"format": "mp3"},
    ],
)
@pytest.mark.attack("choices changed after admission")
def test_changed_choices_get_no_permit(story: Story, change: dict[str, Any]) -> None:
    admission, choices = running(story, seed=7)
    with pytest.raises(ChoicesChanged):
        permit(story, admission.token, "regenerate", {**choices, **change})
    with pytest.raises(ChoicesChanged):
        permit(story, admission.token, "regenerate", None)


@pytest.mark.attack("work under a revoked grant")
def test_revocation_stops_running_and_waiting_jobs(story: Story) -> None:
    granted = story.granted()
    accepted, waiting = story.admit(granted), story.admit(granted)
    consume(story, accepted.token, accepted.claims.job)
    assert accepted.choices is not None
    choices = accepted.choices.model_dump(mode="json")
    given = permit(story, accepted.token, "publish", choices)
    with story.database.snapshot() as session:
        gate.check_live(session, given)
    with story.database.transaction() as session:
        gate.lock_for_publish(session, given)
    with story.database.transaction() as session:
        closing.revoke(session, granted.owners[0].principal, granted.grant_id)
    with pytest.raises(ConsentRevoked):
        permit(story, accepted.token, "publish", choices)
    with pytest.raises(ConsentRevoked), story.database.snapshot() as session:
        gate.check_live(session, given)
    with pytest.raises(ConsentRevoked), story.database.transaction() as session:
        gate.lock_for_publish(session, given)
    with pytest.raises(ConsentRevoked):
        consume(story, waiting.token, waiting.claims.job)


@pytest.mark.attack("work under a revoked grant")
def test_an_unknown_grant_is_as_good_as_revoked(story: Story) -> None:
    admission, choices = running(story)
    assert admission.claims.grant is not None
    gone = admission.claims.grant.model_copy(update={"id": "grt_gone"})
    claims = admission.claims.model_copy(update={"grant": gone, "jti": "t2", "job": "job_2"})
    token = job_tokens.mint(story.keys, claims)
    with story.database.transaction() as session:
        session.add(TokenUse(token_id="t2", job_id="job_2"))
    with pytest.raises(ConsentRevoked):
        permit(story, token, "mix", choices)


Forge = Callable[[ServiceKeys, dict[str, Any]], str]
HEADER = {"alg": "Ed25519", "typ": job_tokens.TYPE}


def _header(keys: ServiceKeys, **change: Any) -> dict[str, Any]:
    return {**HEADER, "kid": keys.job.kid, **change}


def _encode(part: dict[str, Any]) -> str:
    return urlsafe_b64encode(json.dumps(part).encode()).decode()


def _unsigned(keys: ServiceKeys, claims: dict[str, Any]) -> str:
    return f"{_encode(_header(keys, alg='none'))}.{_encode(claims)}."


def _unsigned_beside_a_good_header(keys: ServiceKeys, claims: dict[str, Any]) -> str:
    return f"{_encode(_header(keys))}.{_encode(claims)}."


def _hs256_with_the_public_key(keys: ServiceKeys, claims: dict[str, Any]) -> str:
    public = OctKey.import_key(urlsafe_b64decode(keys.job.as_dict(private=False)["x"].encode()))
    return jwt.encode(_header(keys, alg="HS256"), claims, public, algorithms=["HS256"])


def _hs256_with_the_public_pem(keys: ServiceKeys, claims: dict[str, Any]) -> str:
    # joserfc refuses such a key when signing; the attacker's tool would not.
    import hmac

    signed = f"{_encode(_header(keys, alg='HS256'))}.{_encode(claims)}"
    mac = hmac.digest(keys.job.as_pem(private=False), signed.encode(), "sha256")
    return f"{signed}.{urlsafe_b64encode(mac).decode()}"


def _foreign_key(keys: ServiceKeys, claims: dict[str, Any]) -> str:
    other = OKPKey.generate_key("Ed25519")
    return jwt.encode(_header(keys), claims, other, algorithms=["Ed25519"])


def _foreign_key_in_the_header(keys: ServiceKeys, claims: dict[str, Any]) -> str:
    other = OKPKey.generate_key("Ed25519")
    header = _header(keys, jwk=other.as_dict(private=False))
    return jwt.encode(header, claims, other, algorithms=["Ed25519"])


def _es256(keys: ServiceKeys, claims: dict[str, Any]) -> str:
    key = ECKey.generate_key("P-256")
    return jwt.encode(_header(keys, alg="ES256"), claims, key, algorithms=["ES256"])


def _our_key(**header: Any) -> Forge:
    def forge(keys: ServiceKeys, claims: dict[str, Any]) -> str:
        return jwt.encode(_header(keys, **header), claims, keys.job, algorithms=["Ed25519"])

    return forge


def _with(**change: Any) -> Forge:
    def forge(keys: ServiceKeys, claims: dict[str, Any]) -> str:
        changed = {k: v for k, v in {**claims, **change}.items() if v is not None}
        return jwt.encode(_header(keys), changed, keys.job, algorithms=["Ed25519"])

    return forge


FORGERIES: dict[str, Forge] = {
    "alg none": _unsigned,
    "no signature": _unsigned_beside_a_good_header,
    "HS256 with the public key": _hs256_with_the_public_key,
    "HS256 with the public PEM": _hs256_with_the_public_pem,
    "foreign key": _foreign_key,
    "foreign key in the header": _foreign_key_in_the_header,
    "ES256": _es256,
    "typ of a bearer token": _our_key(typ="JWT"),
    "another kid": _our_key(kid="someone"),
    "extra header": _our_key(cty="json"),
    "another audience": _with(aud="reprise"),
    "audiences": _with(aud=["reprise-workers", "reprise"]),
    "no audience": _with(aud=None),
    "another issuer": _with(iss="someone"),
    "no expiry": _with(exp=None),
    "expiry that never comes": _with(exp=float("nan")),
    "no id": _with(jti=None),
    "no job": _with(job=None),
    "unknown claim": _with(admin=True),
    "stages as text": _with(stages="publish"),
    "not a token": lambda keys, claims: "not.a.token",
    "empty": lambda keys, claims: "",
    "five parts": lambda keys, claims: "a.b.c.d.e",
    "huge": lambda keys, claims: "e" * 1_000_000,
}


def test_the_forgers_tools_work_when_nothing_is_changed(story: Story) -> None:
    claims = story.admit(story.granted()).claims
    token = _with()(story.keys, claims.model_dump(mode="json"))
    assert consume(story, token, claims.job) == claims


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
@pytest.mark.attack("alg none", cases=["alg none", "no signature"])
@pytest.mark.attack(
    "HMAC with the public key", cases=["HS256 with the public key", "HS256 with the public PEM"]
)
@pytest.mark.attack("wrong typ", cases=["typ of a bearer token"])
@pytest.mark.attack("expired", cases=["no expiry", "expiry that never comes"])
@pytest.mark.attack(
    "wrong audience or issuer",
    cases=["another audience", "audiences", "no audience", "another issuer"],
)
@pytest.mark.attack(
    "malformed or foreign token",
    cases=[
        "foreign key",
        "foreign key in the header",
        "ES256",
        "another kid",
        "extra header",
        "no id",
        "no job",
        "unknown claim",
        "stages as text",
        "not a token",
        "empty",
        "five parts",
        "huge",
    ],
)
@pytest.mark.attack(
    "HMAC with the public key", cases=["HS256 with the public key", "HS256 with the public PEM"]
)
@pytest.mark.attack(
    "wrong audience or issuer",
    cases=["another audience", "audiences", "no audience", "another issuer"],
)
@pytest.mark.attack(
    "malformed or foreign token",
    cases=[
        "foreign key",
        "foreign key in the header",
        "ES256",
        "another kid",
        "extra header",
        "no id",
        "no job",
        "unknown claim",
        "stages as text",
        "not a token",
        "empty",
        "five parts",
        "huge",
    ],
)
def test_forged_tokens_are_refused_everywhere(story: Story, forge: Forge) -> None:
    admission, choices = running(story)
    claims = admission.claims.model_dump(mode="json")
    token = forge(story.keys, claims)
    with pytest.raises(JobTokenInvalid):
        consume(story, token, admission.claims.job)
    if "exp" in claims and forge not in (FORGERIES["no expiry"],):
        with pytest.raises(JobTokenInvalid):
            permit(story, token, "mix", choices)


@pytest.mark.attack("malformed or foreign token")
def test_another_services_token_is_foreign(story: Story) -> None:
    admission, choices = running(story)
    other = ServiceKeys(job=OKPKey.generate_key("Ed25519", auto_kid=True), bearer=None)
    token = job_tokens.mint(other, admission.claims)
    with pytest.raises(JobTokenInvalid):
        permit(story, token, "mix", choices)


@pytest.mark.attack("choices changed after admission")
def test_a_tampered_payload_breaks_the_signature(story: Story) -> None:
    admission, choices = running(story)
    head, body, signature = admission.token.split(".")
    claims = json.loads(urlsafe_b64decode(body.encode()))
    claims["stages"] = ["publish", "ingest"]
    with pytest.raises(JobTokenInvalid):
        permit(story, f"{head}.{_encode(claims)}.{signature}", "ingest", choices)


def test_choices_keep_their_hash_through_the_database() -> None:
    choices = Choices(style="Rock", tempo_percent=-2.5, guidance=3.0, seed=2**32 - 1)
    stored = json.loads(json.dumps(choices.model_dump(mode="json")))
    assert Choices.model_validate(stored).sha256() == choices.sha256()
