"""The API as a client sees it: JSON, refusals as problem documents, events as they happen."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

FINAL = frozenset({"published", "refused", "failed", "revoked", "cancelled"})
MEDIA_TYPES = {
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".m4a": "audio/mp4",
    ".mp4": "audio/mp4",
    ".aac": "audio/aac",
}


class Refused(Exception):
    """The service said no; `title` and `detail` are its own words (RFC 9457)."""

    def __init__(self, document: dict[str, Any], status: int) -> None:
        self.title = str(document.get("title", f"status {status}"))
        self.detail = str(document.get("detail", ""))
        self.slug = str(document.get("type", "")).rsplit("/", 1)[-1]
        self.status = status
        super().__init__(f"{self.title}. {self.detail}".strip())


@dataclass(frozen=True, slots=True)
class Happened:
    """One event of a job."""

    type: str
    data: dict[str, Any]


class Api:
    """The service at `url`, as the holder of one bearer token."""

    def __init__(self, url: str, token: str) -> None:
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(90.0, connect=5.0),
        )

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """GET a JSON document; raises `Refused`."""
        return _json(self._http.get(path, params=query))

    def post(self, path: str, body: dict[str, Any] | None = None, **headers: str) -> dict[str, Any]:
        """POST JSON (header names with `_` for `-`) and read JSON; raises `Refused`."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return _json(self._http.post(path, json=body, headers=sent))

    def send_file(self, method: str, path: str, file: Path) -> dict[str, Any]:
        """Send a file as the request's body; raises `Refused`."""
        headers = {
            "Content-Type": MEDIA_TYPES.get(file.suffix.lower(), "application/octet-stream"),
            "Content-Length": str(file.stat().st_size),
        }
        with file.open("rb") as body:
            return _json(self._http.request(method, path, content=body, headers=headers))

    def save(self, path: str, destination: Path) -> Path:
        """Download to `destination`, which appears only when it is whole; raises `Refused`."""
        destination.parent.mkdir(parents=True, exist_ok=True)
        temporary = destination.with_name(f".{destination.name}.part")
        try:
            with self._http.stream("GET", path) as response:
                if not response.is_success:
                    response.read()
                    _json(response)
                with temporary.open("wb") as sink:
                    for chunk in response.iter_bytes():
                        sink.write(chunk)
            return temporary.replace(destination)
        finally:
            temporary.unlink(missing_ok=True)

    def events(self, path: str, alive: Callable[[], None]) -> Iterator[Happened]:
        """A job's events to the final one, over broken connections too.

        `alive` is called now and then and may raise to give up.
        """
        last = ""
        while True:
            alive()
            try:
                for event_id, happened in self._stream(path, last, alive):
                    last = event_id or last
                    yield happened
                    if happened.type in FINAL:
                        return
            except httpx.TransportError:
                time.sleep(0.5)

    def _stream(
        self, path: str, last: str, alive: Callable[[], None]
    ) -> Iterator[tuple[str, Happened]]:
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
        with self._http.stream("GET", path, headers=headers) as response:
            if not response.is_success:
                response.read()
                _json(response)
            fields: dict[str, str] = {}
            for line in response.iter_lines():
                name, _, value = line.partition(":")
                if name:
                    fields[name] = value.removeprefix(" ")
                elif line:
                    alive()  # A comment: the stream's heartbeat.
                elif "data" in fields:
                    yield (
                        fields.get("id", ""),
                        Happened(fields.get("event", "message"), json.loads(fields["data"])),
                    )
                    fields = {}


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        document = response.json() if response.content else {}
    except ValueError:
        document = {"title": f"status {response.status_code}", "detail": response.text[:300]}
    if not response.is_success:
        raise Refused(document if isinstance(document, dict) else {}, response.status_code)
    return document
