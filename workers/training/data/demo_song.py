"""Compose and render the demo song, "Paper Lanterns": 36 seconds of our own music, CC0.

    python -m workers.training.data.demo_song --out demo/song.ogg

No corpus holds it: its form, key and tempo are set here, and its seed lies outside every corpus.
The file in the repository was written when ``corpus.CODE_VERSION`` was 1; the composer of today
plays other notes in the same form, key and tempo.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from workers.training.data.composition import compose
from workers.training.data.rendering import Stem, render
from workers.training.data.score import Chord, Composition, Note, Section
from workers.training.data.soundfont import find_fonts

TITLE, ARTIST = "Paper Lanterns", "Reprise Ensemble"
SAMPLE_RATE = 44100

_SEED = 7
_BPM = 100.0
_DURATION = 36.0
_BARS = 14
_VOICE_OOHS = 53
_BAND = ("drums", "bass", "other")
_FORM = (
    Section("intro", 0, 2, 0.6, _BAND),
    Section("verse", 2, 4, 0.7, (*_BAND, "vocals")),
    Section("chorus", 6, 4, 1.0, (*_BAND, "vocals")),
    Section("bridge", 10, 2, 0.6, _BAND),
    Section("chorus", 12, 2, 1.0, (*_BAND, "vocals")),
    Section("end", 14, 2, 0.5, ()),
)


def composition() -> Composition:
    """The song: intro, verse, chorus, bridge, chorus, and a last chord that rings."""
    piece = compose(
        _SEED,
        style="soul",
        duration=_DURATION,
        bpm=_BPM,
        vocals=True,
        key=(7, "major"),
        form=_FORM,
        meter="4/4",
        density="normal",
    )
    end = _BARS * 4 * 60.0 / _BPM
    notes = {
        stem: [note for note in played if note.start < end - 0.05]
        for stem, played in piece.notes.items()
    }
    notes["vocals"] = [replace(note, program=_VOICE_OOHS) for note in notes["vocals"]]
    for stem, pitches in {"bass": (31,), "other": (55, 59, 62, 66), "drums": (36, 49)}.items():
        like = notes[stem][-1] if stem != "other" else _comp(notes["other"])
        notes[stem] = [note for note in notes[stem] if note.start + 0.01 < end] + [
            Note(end, 2.2, pitch, 92, like.program, like.channel_role) for pitch in pitches
        ]
    last = Chord(end, _DURATION, 7, (7, 11, 2, 6))
    chords = [chord for chord in piece.chords if chord.start < end - 0.05]
    return replace(piece, notes=notes, chords=[*chords, last])


def _comp(notes: list[Note]) -> Note:
    return next(note for note in notes if note.channel_role == "comp")


def stems(font: Path) -> dict[str, Stem]:
    """The song's stems: float32 [2, samples] at 44.1 kHz, faded out at the very end."""
    fade = np.ones(round(_DURATION * SAMPLE_RATE), dtype=np.float32)
    tail = round(0.8 * SAMPLE_RATE)
    fade[-tail:] = np.cos(np.linspace(0, np.pi / 2, tail)) ** 2
    rendered = render(composition(), font, seed=_SEED, sample_rate=SAMPLE_RATE, plain=True)
    return {name: audio * fade for name, audio in rendered.items()}


def write(out: Path, font: Path) -> None:
    """Write the song as Ogg Vorbis with title, artist and licence in its tags."""
    rendered = stems(font)
    mix = sum(rendered.values(), np.zeros_like(rendered["drums"])).T
    with soundfile.SoundFile(
        out, "w", SAMPLE_RATE, 2, format="OGG", subtype="VORBIS", compression_level=0.3
    ) as file:
        file.title, file.artist, file.license = TITLE, ARTIST, "CC0-1.0"
        for start in range(0, len(mix), SAMPLE_RATE):  # libsndfile's encoder wants small blocks
            file.write(mix[start : start + SAMPLE_RATE])


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: write the song."""
    parser = argparse.ArgumentParser(prog="workers.training.data.demo_song")
    parser.add_argument("--out", type=Path, default=Path("demo/song.ogg"))
    parser.add_argument("--font", type=Path, help="sound font; the first known one if left out")
    options = parser.parse_args(argv)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write(options.out, options.font or find_fonts()[0])


if __name__ == "__main__":
    main()
