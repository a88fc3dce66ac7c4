"""What a demo was asked to do, checked before anything is started."""

from dataclasses import dataclass
from pathlib import Path

from checkpoints import registry
from checkpoints.card import Card

SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".mp4", ".aac")
OUR_SONG = ("song.flac", "song.ogg")


class NotPossible(Exception):
    """The demo cannot do what was asked; the message tells the way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoRequest:
    """A song (None: ours), the part to regenerate, and the listener's choices."""

    track: Path | None = None
    part: str = "drums"
    style: str | None = None
    seed: int | None = None
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
