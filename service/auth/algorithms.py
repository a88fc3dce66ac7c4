"""What a verifier accepts: public-key algorithms that it names, and headers that say no more."""

import json
from collections.abc import Collection
from typing import Any

from joserfc.errors import UnsupportedAlgorithmError
from joserfc.jws import JWSAlgModel, JWSRegistry
from joserfc.registry import HeaderParameter
from joserfc.util import urlsafe_b64decode

# RFC 9864 names the algorithm fully; RFC 8037's name for the family is accepted beside it.
ED25519_NAMES = frozenset({"Ed25519", "EdDSA"})


class PublicKeyAlgorithms(JWSRegistry):
    """An allow-list for verifying (RFC 8725 section 3.1).

    `none` and the HMAC family can never be on it: with them, whoever knows a public key could
    sign. (joserfc's own allow-list means "the recommended ones, HS256 among them" when empty, and
    warns at every use of the name `EdDSA`, which issuers still write.) `headers` names members of
    the header beside the registered ones.
    """

    def __init__(self, *names: str, headers: Collection[str] = ()) -> None:
        if not names or any(name == "none" or name.startswith("HS") for name in names):
            raise ValueError("an allow-list names public-key algorithms")
        ours = {name: HeaderParameter("Our own", "str") for name in headers}
        super().__init__(header_registry=ours, algorithms=names)
        self._names = frozenset(names)

    def get_alg(self, name: str) -> JWSAlgModel:
        """The algorithm called `name`; raises joserfc's `UnsupportedAlgorithmError`."""
        if not isinstance(name, str) or name not in self._names:
            raise UnsupportedAlgorithmError("the token's algorithm is not accepted here")
        return self.algorithms[name]


def exact_header(protected: str, kind: str, *more: str) -> dict[str, Any]:
    """A party's protected header, which has exactly `alg`, `kid`, `typ` (and `more`), all text.

    Nothing else may stand in it: `b64` or `crit` would change what is signed, `jwk` or `jku`
    would bring a key of the signer's own choosing, and a name that stands twice is read
    differently by different readers. Raises `ValueError` with words for the signer.
    """
    wanted = ["alg", "kid", "typ", *more]
    try:
        header = json.loads(
            urlsafe_b64decode(protected.encode("ascii")), object_pairs_hook=_without_duplicates
        )
    except (ValueError, RecursionError):
        raise ValueError("the protected header is not base64url of a JSON object") from None
    if not isinstance(header, dict) or set(header) != set(wanted):
        raise ValueError(f"the protected header must have exactly {', '.join(wanted)}")
    if header["typ"] != kind:
        raise ValueError(f"`typ` must be {kind!r}")
    if not isinstance(header["alg"], str) or header["alg"] not in ED25519_NAMES:
        raise ValueError("`alg` must be Ed25519 (or EdDSA)")
    for name in ("kid", *more):
        if not isinstance(header[name], str):
            raise ValueError(f"`{name}` must be text")
    return header


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found
