"""Job tokens: one permission for one job, as an Ed25519 JWT of its own type.

`exp` bounds admission only, for a queue outlives it; the stages are bound by `job_deadline`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from pydantic import BaseModel, ConfigDict, ValidationError

from service.auth import ServiceKeys
from service.auth.algorithms import PublicKeyAlgorithms
from service.consent.refusals import JobTokenExpired, JobTokenInvalid

TYPE = "remix-job+jwt"
ISSUER = "reprise-gate"
AUDIENCE = "reprise-workers"
LIFETIME_SECONDS = 120
CLOCK_SKEW_SECONDS = 5
REMIX_STAGES = ("separate", "regenerate", "mix", "stamp", "publish")
INGEST_STAGES = ("ingest",)
MAX_TOKEN_CHARACTERS = 16_384
_REGISTRY = PublicKeyAlgorithms("Ed25519")


class GrantClaim(BaseModel):
    """The grant a job runs under; `sha256` is over its signed payload."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    gen: int
    sha256: str


class JobClaims(BaseModel):
    """A job token's claims. Times are seconds since the epoch; `sub` is a pairwise name.

    `ckpt` maps the cards that may be used to their digests; `training` are the training grants
    that adapters among them rest on. Self-grants have no `grant`: an owner's preview, and an
    owner's ingest, which has no `tpl` and `params_sha256` either.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    iss: str
    aud: Literal["reprise-workers"]
    sub: str
    jti: str
    iat: int
    exp: int
    job_deadline: int
    job: str
    trk: str
    stages: tuple[str, ...]
    purpose: Literal["ingest", "preview", "remix"]
    grant: GrantClaim | None = None
    tpl: str | None = None
    params_sha256: str | None = None
    ckpt: Mapping[str, str] = {}
    training: tuple[GrantClaim, ...] = ()

    @property
    def deadline(self) -> datetime:
        """The moment after which no stage may begin or publish."""
        return datetime.fromtimestamp(self.job_deadline, UTC)


def mint(keys: ServiceKeys, claims: JobClaims) -> str:
    """Sign the claims (compact JWS)."""
    header = {"alg": "Ed25519", "typ": TYPE, "kid": keys.job.kid}
    body = claims.model_dump(mode="json", exclude_none=True)
    return jwt.encode(header, body, keys.job, algorithms=["Ed25519"])


def verify(keys: ServiceKeys, token: str, *, fresh: bool) -> JobClaims:
    """The claims of a job token that we signed, for workers.

    `fresh` checks `exp` too. Raises `JobTokenInvalid` or `JobTokenExpired`.
    """
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise JobTokenInvalid("the job's permission is not one of ours (too long)")
    try:
        decoded = jwt.decode(token, keys.job, registry=_REGISTRY)
        if decoded.header != {"alg": "Ed25519", "typ": TYPE, "kid": keys.job.kid}:
            raise JobTokenInvalid("the job's permission is not one of ours")
        _claims_registry(fresh).validate(decoded.claims)
        return JobClaims.model_validate(decoded.claims)
    except ExpiredTokenError:
        raise JobTokenExpired("the job's permission was not used in time") from None
    except (JoseError, ValidationError, ValueError, TypeError, KeyError) as error:
        raise JobTokenInvalid(
            f"the job's permission is not one of ours ({type(error).__name__})"
        ) from None


def _claims_registry(fresh: bool) -> jwt.JWTClaimsRegistry:
    options: dict[str, Any] = {
        "iss": {"essential": True, "value": ISSUER},
        "aud": {"essential": True, "value": AUDIENCE},
        "jti": {"essential": True},
        "exp": {"essential": True},
    }
    if fresh:
        return jwt.JWTClaimsRegistry(leeway=CLOCK_SKEW_SECONDS, **options)
    return _WithoutExpiry(leeway=CLOCK_SKEW_SECONDS, **options)


class _WithoutExpiry(jwt.JWTClaimsRegistry):
    def validate_exp(self, value: object) -> None:
        """`job_deadline` bounds what runs; `exp` bounded only the admission."""
