"""The story, station by station: register, ingest, template, signatures, request, remix."""

import json
import secrets
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from checkpoints import registry
from service.auth import ServiceKeys, mint_token
from service.auth.bearer import Role
from service.demo.client import Api, Refused
from service.demo.narrator import Narrator
from service.demo.owners import Owner, register
from service.demo.request import DemoRequest, NotPossible, words_for
from service.settings import Settings
from service.storage import file_sha256

TOKEN_TIME = timedelta(hours=12)
GRANT_TIME = timedelta(days=365)
ARTIST, LABEL = "Reprise Ensemble", "Paper Boat Records"
CREDITS = [
    {"name": ARTIST, "role": "composer"},
    {"name": ARTIST, "role": "performer"},
    {"name": LABEL, "role": "producer"},
]


@dataclass(frozen=True, slots=True)
class Told:
    """How a story ended: the remix, where it lies, and what its credential says."""

    remix_id: str
    file: Path
    verdict: str
    report: dict[str, Any]
    page: str


class Story:
    """One run over HTTP against the service at `url`, on behalf of artist, label and listener.

    What earlier runs registered is used again (`home/demo.json` remembers the ids, the service
    is asked whether they still hold), so that a second remix finds its stems in the cache.
    """

    def __init__(self, settings: Settings, url: str, narrator: Narrator) -> None:
        self._settings = settings
        self._url = url
        self._narrator = narrator
        self._keys = ServiceKeys.load(settings)
        self._memory_file = settings.home / "demo.json"
        self._memory: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            self._memory = json.loads(self._memory_file.read_text())

    def tell(self, request: DemoRequest, alive: Callable[[], None]) -> Told:
        """Play the story; raises `Refused`, `NotPossible` or what `alive` raises."""
        song = request.song()
        with self._narrator.step("Artist and label registered, a key each"):
            artist = self._owner("artist", ARTIST)
            label = self._owner("label", LABEL)
        ours = request.track is None
        title = "Paper Lanterns" if ours else _title(song)
        track = self._track(song, title, artist, label, alive)
        template = self._template(request, track, artist, label)
        return self._remix(request, track, template, alive)

    def _api(self, role: Role, subject: str) -> Api:
        token = mint_token(self._keys, self._settings, role, subject, ttl=TOKEN_TIME)
        return Api(self._url, token)

    def _owner(self, kind: Role, name: str) -> Owner:
        subject = f"demo-{kind}"
        return register(
            self._api(kind, subject),
            subject=subject,
            kind=kind,
            name=name,
            keys=self._settings.home / "keys",
        )

    def _track(
        self, song: Path, title: str, artist: Owner, label: Owner, alive: Callable[[], None]
    ) -> dict[str, Any]:
        sha256 = file_sha256(song)
        known = self._memory.get(sha256, {}).get("track_id")
        if known:
            with suppress(Refused):
                track = artist.api.get(f"/v1/tracks/{known}")
                if track["state"] == "ready":
                    self._narrator.note(f"“{track['title']}” is in the catalogue already")
                    return track
        with self._narrator.step(f"“{title}” registered; shares 60 % artist, 40 % label"):
            track = artist.api.post(
                "/v1/tracks",
                {
                    "title": title,
                    "artist": artist.name,
                    "credits": CREDITS,
                    "shares": [
                        {"party_id": artist.party_id, "side": "recording", "ppm": 600_000},
                        {"party_id": label.party_id, "side": "recording", "ppm": 400_000},
                    ],
                },
            )
        path = f"/v1/tracks/{track['id']}"
        with self._narrator.step(f"{song.name} uploaded and decoded in its sandbox"):
            artist.api.send_file("PUT", f"{path}/audio", song)
            artist.api.post(f"{path}/ingest", prefer="wait=60")
            while (track := artist.api.get(path))["state"] == "ingesting":
                alive()
                self._narrator.pause()
        if track["state"] == "held":
            raise NotPossible(
                "the song sounds like another party's track and is held: GET /v1/disputes"
            )
        if track["state"] == "rejected":
            raise Refused(track["problem"] or {}, 422)
        self._remember(sha256, track_id=track["id"], templates={})
        return track

    def _template(
        self, request: DemoRequest, track: dict[str, Any], artist: Owner, label: Owner
    ) -> dict[str, Any]:
        card = request.generator()
        separator = registry.separator_for(self._settings.separator, commercial=False)
        # Other weights may know other styles and controls, and get a template of their own.
        models = f"{card.name} {card.digest[:12]} {separator.name}"
        for entry in self._memory.values():
            known = entry.get("templates", {}).get(models)
            if entry.get("track_id") == track["id"] and known:
                with suppress(Refused):
                    grant = artist.api.get(f"/v1/grants/{known['grant_id']}")
                    if grant["state"] == "open":
                        self._narrator.note(f"Its grant for new {request.part} is signed and open")
                        return known
        terms = {
            "part": request.part,
            "styles": list(card.styles),
            "tempo_percent": {"min": -10, "max": 10},
            "key_semitones": {"min": -3, "max": 3},
            "quota_per_listener": 1000,
            "territories": ["*"],
            "checkpoints": [card.name, separator.name],
        }
        what = f"new {request.part} in {len(card.styles)} styles, tempo ±10 %, key ±3 semitones"
        with self._narrator.step(f"Template made: {what}"):
            template = artist.api.post("/v1/templates", {"track_id": track["id"], "terms": terms})
        with self._narrator.step("Both signed the grant over it; training is not part of it"):
            grant = artist.api.post(
                "/v1/grants",
                {
                    "template_id": template["template_id"],
                    "version": template["version"],
                    "expires_at": (datetime.now(UTC) + GRANT_TIME).isoformat(),
                },
            )
            for owner in (artist, label):
                grant = owner.sign(grant["id"], grant["payload"])
        if grant["state"] != "open":
            raise NotPossible(f"the grant is {grant['state']} though both signed")
        known = {
            "template_id": template["template_id"],
            "version": template["version"],
            "grant_id": grant["id"],
        }
        for entry in self._memory.values():
            if entry.get("track_id") == track["id"]:
                entry["templates"][models] = known
        self._remember()
        return known

    def _remix(
        self,
        request: DemoRequest,
        track: dict[str, Any],
        template: dict[str, Any],
        alive: Callable[[], None],
    ) -> Told:
        listener = self._api("listener", "demo-listener")
        choices = request.choices()
        words = list(words_for(choices))
        with self._narrator.step(f"A listener asked for new {request.part}: {', '.join(words)}"):
            remix = listener.post(
                "/v1/remixes",
                {
                    "template_id": template["template_id"],
                    "version": template["version"],
                    "choices": choices.model_dump(mode="json"),
                },
                idempotency_key=secrets.token_hex(16),
            )
        path = f"/v1/remixes/{remix['id']}"
        ended = self._narrator.follow(listener.events(f"{path}/events", alive))
        if ended.type != "published":
            title = f"The remix ended as {ended.type}"
            raise Refused({"title": title, "detail": _why(ended.data)}, 422)
        remix = listener.get(path)
        seed = remix["choices"]["seed"]
        words = [_slug(word) for word in words]
        name = "-".join((_slug(track["title"]), *words, request.part, str(seed)))
        file = listener.save(f"{path}/audio", request.folder / f"{name}.flac")
        report = listener.send_file("POST", "/v1/verify", file)
        token = mint_token(self._keys, self._settings, "listener", "demo-listener", ttl=TOKEN_TIME)
        return Told(
            remix_id=remix["id"],
            file=file,
            verdict=str(report["verdict"]),
            report=report,
            page=f"{self._url}/#remix={remix['id']}&token={token}",
        )

    def _remember(self, sha256: str | None = None, **known: Any) -> None:
        if sha256 is not None:
            self._memory[sha256] = known
        temporary = self._memory_file.with_suffix(".part")
        temporary.write_text(json.dumps(self._memory, indent=1))
        temporary.replace(self._memory_file)


def _title(song: Path) -> str:
    spoken = song.stem.replace("_", " ")
    kept = "".join(c for c in spoken if not unicodedata.category(c).startswith("C"))
    return " ".join(kept.split())[:200] or "Untitled"


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = "".join(c if c.isalnum() else " " for c in plain).split()
    return "-".join(words)[:60] or "song"


def _why(data: dict[str, Any]) -> str:
    return f"{data.get('detail') or ''} ({data.get('reason')})".strip()
