"""Bearer tokens: signed JWTs (RFC 7519) that say who asks and in which role.

Development tokens are signed with a key of our own; production takes an OIDC issuer's. The
algorithm is chosen from an allow-list of public-key algorithms, never by the token (RFC 8725).
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, get_args

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import GuestProtocol, Key

from service.auth.algorithms import PublicKeyAlgorithms
from service.auth.keys import ServiceKeys
from service.database import new_id, now
from service.errors import Problem
from service.settings import Settings

Role = Literal["listener", "artist", "label", "operator"]
ROLES: tuple[Role, ...] = get_args(Role)
_ALGORITHMS = PublicKeyAlgorithms("Ed25519", "EdDSA", "ES256", "RS256")
TYPES = frozenset({"JWT", "at+jwt", "application/at+jwt"})
MAX_TOKEN_CHARACTERS = 8192
CLOCK_SKEW_SECONDS = 30
LONGEST_SUBJECT = 255
APP_CLAIMS = ("client_id", "azp")
"""Where a token names the app it was minted for: RFC 9068 section 2.2, OpenID Connect Core 2."""
_APP = re.compile(r"[\x21-\x7e]{1,100}")
_APART = "\x1f"
"""Stands in no name, so that a listener of one app is never taken for another's."""


def _challenge(error: str | None = None) -> dict[str, str]:
    value = 'Bearer realm="reprise"'
    return {"WWW-Authenticate": f'{value}, error="{error}"' if error else value}


class TokenMissing(Problem):
    """The operation needs a bearer token and there is none (RFC 6750 section 3)."""

    status = 401
    slug = "token-missing"
    title = "A bearer token is needed"
    limit = "who asks has to be known"
    changed_by = "you, by signing in"

    def __init__(self) -> None:
        super().__init__(
            "sign in first; a program sends `Authorization: Bearer …` (for development, `reprise "
            "token` mints one)",
            headers=_challenge(),
        )


class TokenInvalid(Problem):
    """The bearer token is not one of ours or the issuer's, or does not say what it must."""

    status = 401
    slug = "token-invalid"
    title = "The bearer token is not valid"
    limit = "tokens of this service's issuer"
    changed_by = "you, by signing in again"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers=_challenge("invalid_token"))


class TokenExpired(Problem):
    """The bearer token was good once."""

    status = 401
    slug = "token-expired"
    title = "The bearer token has expired"
    limit = "lifetime of the token"
    changed_by = "you, by signing in again"

    def __init__(self) -> None:
        super().__init__(
            "your sign-in has ended; sign in again", headers=_challenge("invalid_token")
        )


class RoleForbidden(Problem):
    """The caller is known, but this is not for the caller's role."""

    status = 403
    slug = "role-forbidden"
    title = "Not for this role"
    limit = "role"
    changed_by = "whoever gives out the tokens: the role stands in yours"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `territory` is an ISO 3166-1 alpha-2 code, from the token.

    Which party a principal acts for is the catalogue's to say
    (`service.catalog.parties.party_of`), not the token's. `app` is the app (tenant) that the bearer
    was minted for, the issuer's own where it names none; a listener's `subject` is its own in each
    app, whatever `sub` the issuer uses.
    """

    subject: str
    role: Role
    territory: str | None = None
    app: str | None = None


def mint_token(
    keys: ServiceKeys,
    settings: Settings,
    role: Role,
    subject: str,
    territory: str | None = None,
    ttl: timedelta = timedelta(hours=12),
    app: str | None = None,
) -> str:
    """A development bearer token; raises `ValueError` where an issuer's keys are in force.

    `app` names the app that it is for (`client_id`); without one it is the issuer's own.
    """
    if keys.bearer is None:
        raise ValueError("tokens come from the OIDC issuer (REPRISE_JWKS_URL is set)")
    if role not in ROLES:
        raise ValueError(f"role {role!r} is not one of {', '.join(ROLES)}")
    if app is not None and not _APP.fullmatch(app):
        raise ValueError("an app's name is 1 to 100 printable ASCII characters without spaces")
    issued = now()
    claims: dict[str, Any] = {
        "iss": settings.issuer,
        "aud": settings.audience,
        "sub": subject,
        "role": role,
        "jti": new_id("tok"),
        "iat": int(issued.timestamp()),
        "nbf": int(issued.timestamp()),
        "exp": int((issued + ttl).timestamp()),
    }
    if territory is not None:
        claims["territory"] = territory
    if app is not None:
        claims["client_id"] = app
    header = {"alg": "Ed25519", "typ": "JWT", "kid": keys.bearer.kid}
    return jwt.encode(header, claims, keys.bearer, algorithms=["Ed25519"])


def verify_bearer(keys: ServiceKeys, settings: Settings, token: str) -> Principal:
    """The principal a bearer token proves.

    Raises `TokenInvalid`, `TokenExpired`, or `IssuerUnavailable` (503) when the issuer's keys
    cannot be had.
    """
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise TokenInvalid(f"the token is longer than {MAX_TOKEN_CHARACTERS} characters")

    def find_key(member: GuestProtocol) -> Key:
        if keys.issuer is not None:
            kid = member.headers().get("kid")
            return keys.issuer.find(kid if isinstance(kid, str) else None)
        if keys.bearer is None:
            raise TokenInvalid("no key is configured that could verify a token")
        return keys.bearer

    registry = jwt.JWTClaimsRegistry(
        leeway=CLOCK_SKEW_SECONDS,
        iss={"essential": True, "value": settings.issuer},
        aud={"essential": True, "value": settings.audience},
        sub={"essential": True},
        exp={"essential": True},
    )
    try:
        decoded = jwt.decode(token, find_key, registry=_ALGORITHMS)
        if decoded.header.get("typ", "JWT") not in TYPES:
            raise TokenInvalid("the token is of another type (`typ`)")
        registry.validate(decoded.claims)
    except ExpiredTokenError:
        raise TokenExpired() from None
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise TokenInvalid(f"the token was refused ({type(error).__name__})") from None
    return _principal(decoded.claims, settings.issuer)


def _principal(claims: dict[str, Any], issuer: str) -> Principal:
    subject, role, territory = claims["sub"], claims.get("role"), claims.get("territory")
    if len(subject) > LONGEST_SUBJECT or not subject.isprintable():
        raise TokenInvalid("`sub` is not a name of at most 255 printable characters")
    if role not in ROLES:
        raise TokenInvalid(f"`role` is not one of {', '.join(ROLES)}")
    if territory is not None and not (
        isinstance(territory, str)
        and len(territory) == 2
        and territory.isascii()
        and territory.isupper()
    ):
        raise TokenInvalid("`territory` is not an ISO 3166-1 alpha-2 code")
    app = _app(claims) or issuer
    if role == "listener" and app != issuer:
        subject = f"{subject}{_APART}{app}"
        if len(subject) > LONGEST_SUBJECT:
            raise TokenInvalid("`sub` and the app's name together are too long")
    return Principal(subject=subject, role=role, territory=territory, app=app)


def _app(claims: dict[str, Any]) -> str | None:
    """The app that the token names, if any; raises `TokenInvalid` where it names two."""
    named = {claims[name] for name in APP_CLAIMS if isinstance(claims.get(name), str)}
    strange = [name for name in APP_CLAIMS if not isinstance(claims.get(name, ""), str)]
    if strange or len(named) > 1 or not all(_APP.fullmatch(name) for name in named):
        raise TokenInvalid(
            "`client_id` and `azp` name one app, in 1 to 100 printable ASCII characters"
        )
    return next(iter(named), None)
