"""The FastAPI dependency that turns an Authorization header into a `Principal`."""

from collections.abc import Callable, Sequence
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from service.auth.bearer import Principal, Role, RoleForbidden, TokenMissing, verify_bearer

_scheme = HTTPBearer(
    auto_error=False,
    bearerFormat="JWT",
    description="A JWT from the OIDC issuer, or from `reprise token` in development.",
)


def require(*roles: Role) -> Callable[..., Principal]:
    """A dependency that gives the caller, who must have one of `roles` (any role if none named).

    It raises `TokenMissing`, `TokenInvalid`, `TokenExpired` (401) or `RoleForbidden` (403).
    """

    def principal(
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_scheme)],
    ) -> Principal:
        if credentials is None:
            raise TokenMissing()
        state = request.app.state
        found = verify_bearer(state.keys, state.settings, credentials.credentials)
        if roles and found.role not in roles:
            article = "an" if found.role[0] in "aeiou" else "a"
            raise RoleForbidden(f"this is for {_either(roles)}; you are {article} {found.role}")
        return found

    return principal


def _either(roles: Sequence[Role]) -> str:
    return " or ".join(", ".join(f"{role}s" for role in roles).rsplit(", ", 1))
