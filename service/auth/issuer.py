"""An OIDC issuer's public keys, fetched from its JWKS and kept for a while."""

import threading
import time
from collections.abc import Callable

import httpx
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import Key, KeySet

from service.errors import Problem

FRESH_SECONDS = 300.0
RETRY_SECONDS = 10.0
FETCH_TIMEOUT_SECONDS = 5.0
MAX_JWKS_BYTES = 256 * 1024


class IssuerUnavailable(Problem):
    """The issuer's keys cannot be fetched, so no token can be judged: fails closed."""

    status = 503
    slug = "issuer-unavailable"
    title = "The token issuer's keys cannot be fetched"
    limit = "sign-ins that can be checked"
    changed_by = "nobody at once: try again in a moment; the operator, if it lasts"


def _fetch(url: str) -> KeySet:
    try:
        with httpx.stream("GET", url, timeout=FETCH_TIMEOUT_SECONDS) as response:
            response.raise_for_status()
            body = b""
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > MAX_JWKS_BYTES:
                    raise IssuerUnavailable(
                        "nobody's sign-in can be checked just now: its issuer sends too many keys"
                    )
        document = httpx.Response(200, content=body).json()
        # Symmetric keys have no place in a published set; with one, a token signed by anybody
        # who can read the set would pass.
        keys = [k for k in document["keys"] if k.get("kty") in {"OKP", "EC", "RSA"}]
        return KeySet.import_key_set({"keys": keys})
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError, JoseError) as error:
        raise IssuerUnavailable(
            f"nobody's sign-in can be checked just now: its issuer's keys cannot be had "
            f"({type(error).__name__})",
            headers={"Retry-After": str(int(RETRY_SECONDS))},
        ) from error


class IssuerKeys:
    """The JWKS at `url`: fetched when needed, again when stale or when a `kid` is unknown.

    A refetch for an unknown `kid` happens at most every `RETRY_SECONDS`, so that invented ones
    do not become load on the issuer.
    """

    def __init__(
        self,
        url: str,
        fetch: Callable[[str], KeySet] = _fetch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: KeySet | None = None
        self._fetched_at = 0.0
        self._tried_at = float("-inf")

    def find(self, kid: str | None) -> Key:
        """The key named `kid`; raises joserfc's `InvalidKeyIdError` or `IssuerUnavailable`."""
        with self._lock:
            age = self._clock() - self._fetched_at
            if self._keys is None or age > FRESH_SECONDS:
                self._refresh()
            try:
                return self._known(kid)
            except InvalidKeyIdError:
                if self._clock() - self._tried_at < RETRY_SECONDS:
                    raise
                self._refresh()
                return self._known(kid)

    def _known(self, kid: str | None) -> Key:
        if self._keys is None:
            raise IssuerUnavailable(
                "nobody's sign-in can be checked yet: its issuer's keys were never had"
            )
        return self._keys.get_by_kid(kid)

    def _refresh(self) -> None:
        # A failed fetch counts too: while the issuer is away nobody waits for it twice.
        if self._clock() - self._tried_at < RETRY_SECONDS:
            raise IssuerUnavailable(
                "nobody's sign-in can be checked just now: its issuer's keys could not be had a "
                "moment ago",
                headers={"Retry-After": str(int(RETRY_SECONDS))},
            )
        self._tried_at = self._clock()
        self._keys = self._fetch(self.url)
        self._fetched_at = self._clock()
