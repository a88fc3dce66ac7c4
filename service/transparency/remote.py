"""A log read over HTTP, as anybody reads it (C2SP tlog-tiles)."""

import base64
import json
import math
from collections.abc import Iterator

import httpx

from service.errors import Problem
from service.transparency.merkle import Hash
from service.transparency.notes import LONGEST_NOTE
from service.transparency.tiles import WIDTH, tile_path

SECONDS = 30.0
LARGEST_BUNDLE = WIDTH * (2 + 0xFFFF)


class LogUnreachable(Problem):
    """The log did not answer, or not as a log does."""

    status = 502
    slug = "log-unreachable"
    title = "The log cannot be read"
    limit = "what the log at that address answers"
    changed_by = "whoever runs that log"


class RemoteSource:
    """The log at an address such as `https://reprise.example/v1/log`."""

    def __init__(self, url: str, client: httpx.Client | None = None) -> None:
        self._url = url.rstrip("/").removesuffix("/checkpoint")
        self._http = client or httpx.Client(timeout=SECONDS, follow_redirects=False)

    def checkpoint(self) -> str:
        """The newest checkpoint. Raises `LogUnreachable`."""
        try:
            return self._get("checkpoint", LONGEST_NOTE).decode()
        except UnicodeDecodeError as error:
            raise LogUnreachable("the checkpoint is no text") from error

    def leaves(self, size: int) -> Iterator[bytes]:
        """The entries in their order. Raises `LogUnreachable`."""
        for number in range(math.ceil(size / WIDTH)):
            wide = min(WIDTH, size - number * WIDTH)
            partial = "" if wide == WIDTH else f".p/{wide}"
            bundle = self._get(f"tile/entries/{tile_path(number)}{partial}", LARGEST_BUNDLE)
            at = 0
            while at < len(bundle):
                begin = at + 2
                at = begin + int.from_bytes(bundle[at:begin], "big")
                if at > len(bundle):
                    raise LogUnreachable(f"bundle {number} ends inside an entry")
                yield bundle[begin:at]

    def consistency(self, first: int, second: int) -> list[Hash]:
        """The proof that a log of `second` begins with one of `first`. Raises `LogUnreachable`."""
        answer = self._get(f"proofs/consistency?first={first}&second={second}", LONGEST_NOTE)
        try:
            found = json.loads(answer)["proof"]
            return [base64.b64decode(each, validate=True) for each in found]
        except (ValueError, TypeError, KeyError) as error:
            raise LogUnreachable("the log gave no proof") from error

    def events_about(self, subject: str) -> list[str]:
        """What the log tells about a subject, by type, in its order. Raises `LogUnreachable`."""
        told: list[str] = []
        start = 0
        while True:
            answer = self._get(f"entries?subject={subject}&start={start}", LARGEST_BUNDLE)
            try:
                items = json.loads(answer)["items"]
                leaves = [base64.b64decode(each["leaf"]) for each in items]
                told += [str(json.loads(leaf)["type"]) for leaf in leaves]
                following = int(items[-1]["index"]) + 1 if items else start
            except (ValueError, TypeError, KeyError) as error:
                raise LogUnreachable("the log gave no entries") from error
            if len(items) < WIDTH or following <= start:
                return told
            start = following

    def _get(self, place: str, most: int) -> bytes:
        try:
            with self._http.stream("GET", f"{self._url}/{place}") as response:
                response.raise_for_status()
                found = b""
                for part in response.iter_bytes():
                    found += part
                    if len(found) > most:
                        raise LogUnreachable(f"the answer to {place} is too long")
                return found
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise LogUnreachable(f"{self._url}/{place}: {error}") from error
