"""What a demo was asked to do, checked before anything is started."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from checkpoints import registry
from checkpoints.card import Card
from service.templates.choices import Choices
from service.templates.redo import in_words
from service.templates.terms import DENSITIES

SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".mp4", ".aac")
OUR_SONG = ("song.flac", "song.ogg")
YES_OR_NO = {"1": True, "yes": True, "true": True, "0": False, "no": False, "false": False}


class NotPossible(Exception):
    """The demo cannot do what was asked; the message tells the way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoRequest:
    """A song (None: ours), the part to regenerate, and the listener's choices as written.

    `fills` and `swing` are `1` or `0`; `redo` is spans in seconds, `8-16,24-30`. None leaves a
    choice to the song.
    """

    track: Path | None = None
    part: str = "drums"
    style: str | None = None
    seed: int | None = None
    density: str | None = None
    fills: str | None = None
    swing: str | None = None
    redo: str | None = None
    folder: Path = Path("demo")

    def song(self) -> Path:
        """The file to be remixed; raises `NotPossible`."""
        if self.track is None:
            for name in OUR_SONG:
                if (self.folder / name).is_file():
                    return self.folder / name
            raise NotPossible(
                f"the demo song is not in {self.folder}/; run this from the repository, "
                "or name a song: TRACK=song.mp3"
            )
        track = self.track.expanduser()
        if track.is_dir():
            raise NotPossible(f"TRACK {track} is a folder; name a song in it")
        if not track.is_file():
            raise NotPossible(f"TRACK {track}: there is no such file (seen from {Path.cwd()})")
        if track.suffix.lower() not in SUFFIXES:
            kinds = "WAV, FLAC, MP3, Ogg or M4A"
            raise NotPossible(f"TRACK {track.name} is not a {kinds} file by its name")
        return track

    def generator(self) -> Card:
        """The bundled generator that makes the part; raises `NotPossible`."""
        made = {
            part: card
            for card in registry.cards()
            if card.role == "generator" and card.bundled
            for part in card.parts
        }
        if self.part not in made:
            raise NotPossible(f"PART={self.part} is not offered; there is {' and '.join(made)}")
        return made[self.part]

    def chosen_style(self) -> str:
        """The style, in the card's own spelling; raises `NotPossible`."""
        card = self.generator()
        if self.style is None:
            return card.styles[0]
        for style in card.styles:
            if style.casefold() == self.style.strip().casefold():
                return style
        styles = ", ".join(card.styles)
        raise NotPossible(f'STYLE="{self.style}" is not offered for {self.part}; there is {styles}')

    def choices(self) -> Choices:
        """What the listener asks for; raises `NotPossible`."""
        asked: dict[str, Any] = {"style": self.chosen_style()}
        if self.seed is not None:
            asked["seed"] = self.seed
        if self.density is not None:
            asked["density"] = self._density(self.density)
        for name in ("fills", "swing"):
            written = getattr(self, name)
            if written is not None:
                asked[name] = self._yes_or_no(name, written)
        if self.redo is not None:
            asked["redo"] = _spans(self.redo)
        try:
            return Choices.model_validate(asked)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            why = first["msg"].removeprefix("Value error, ")
            raise NotPossible(f'{name.upper()}="{getattr(self, name)}": {why}') from error

    def _density(self, written: str) -> str:
        self._require_control("density")
        if written.strip().lower() not in DENSITIES:
            raise NotPossible(f"DENSITY={written} is not offered; there is {', '.join(DENSITIES)}")
        return written.strip().lower()

    def _yes_or_no(self, name: str, written: str) -> bool:
        self._require_control(name)
        if written.strip().lower() not in YES_OR_NO:
            raise NotPossible(f"{name.upper()}={written} is neither 1 nor 0")
        return YES_OR_NO[written.strip().lower()]

    def _require_control(self, name: str) -> None:
        card = self.generator()
        if name not in card.controls:
            has = f"it has {', '.join(card.controls)}" if card.controls else "it has no controls"
            raise NotPossible(f"{name.upper()} is not offered: {card.name} cannot be told; {has}")


def words_for(choices: Choices) -> Iterator[str]:
    """What was chosen, in a listener's words, the style first."""
    yield choices.style
    if choices.density is not None:
        yield choices.density
    if choices.fills is not None:
        yield "with fills" if choices.fills else "without fills"
    if choices.swing is not None:
        yield "swung" if choices.swing else "straight"
    if choices.redo is not None:
        yield f"only from {in_words(choices.redo)}"


def _spans(written: str) -> list[dict[str, float]]:
    spans = []
    for span in written.split(","):
        start, _, end = span.partition("-")
        try:
            spans.append({"start": float(start), "end": float(end)})
        except ValueError:
            raise NotPossible(
                f'REDO="{written}" is no list of spans in seconds; write REDO="8-16,24-30"'
            ) from None
    return spans
