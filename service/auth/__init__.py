"""Who is asking: bearer tokens, roles, and the service's own keys."""

from service.auth.bearer import (
    Principal,
    Role,
    RoleForbidden,
    TokenExpired,
    TokenInvalid,
    TokenMissing,
    mint_token,
    verify_bearer,
)
from service.auth.dependency import require
from service.auth.keys import ServiceKeys

__all__ = [
    "Principal",
    "Role",
    "RoleForbidden",
    "ServiceKeys",
    "TokenExpired",
    "TokenInvalid",
    "TokenMissing",
    "mint_token",
    "require",
    "verify_bearer",
]
