"""Play notes through FluidSynth in this process: a sound font in, float samples out."""

import os
from collections.abc import Sequence
from ctypes import c_int, c_void_p
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.training.data.score import Note

KNOWN_FONTS: dict[str, str] = {
    "FluidR3_GM.sf2": "MIT",
    "MuseScore_General_Full.sf3": "MIT",
    "sf_GMbank.sf2": "public domain",
}
"""Sound fonts whose licence we know and allow; a corpus states them in its manifest.

The licences are those of Debian's copyright files (fluid-soundfont-gm,
musescore-general-soundfont, csound-soundfont); the last font also says so of itself. None of them
asks anything of rendered music. Left out: TimGM6mb (GPL-2) and OPL-3 FM (CC BY-SA 4.0), whose terms
may reach what is made with them.
"""

HELD_OUT_FONT = "sf_GMbank.sf2"
"""Played in the split "test-font" alone, so that no model is trained on it."""

_FONT_FOLDERS = (Path("/usr/share/sounds/sf2"), Path("/usr/share/sounds/sf3"))
_DRUM_BANK = 128
_DRUM_CHANNEL = 9
_KIT_FAMILY = 8
"""Kits come in families: a font without a variant has at least the multiple of 8 below it."""
_FLUID_WARN = 2


class RendererMissing(RuntimeError):
    """FluidSynth or a sound font is not installed; the message says what to install."""


def find_fonts() -> list[Path]:
    """The known fonts on this machine, in the order of ``KNOWN_FONTS``.

    `REPRISE_SOUNDFONTS` (a search path of folders) is looked through first.

    Raises:
        RendererMissing: none is found.
    """
    extra = [Path(p) for p in os.environ.get("REPRISE_SOUNDFONTS", "").split(os.pathsep) if p]
    fonts: dict[str, Path] = {}
    for folder in (*extra, *_FONT_FOLDERS):
        for name in KNOWN_FONTS:
            if name not in fonts and (folder / name).is_file():
                fonts[name] = folder / name
    if not fonts:
        raise RendererMissing(
            f"no sound font found: install one of {', '.join(KNOWN_FONTS)} "
            "(Debian: fluid-soundfont-gm, musescore-general-soundfont, csound-soundfont) "
            "or name its folder in REPRISE_SOUNDFONTS"
        )
    return [fonts[name] for name in KNOWN_FONTS if name in fonts]


class SoundFont:
    """A sound font loaded into a FluidSynth synthesizer. Not safe for several threads.

    Args:
        path: the .sf2 or .sf3 file.
        sample_rate: of the rendered samples, Hz.

    Raises:
        RendererMissing: libfluidsynth cannot be loaded.
        ValueError: the font cannot be read.
    """

    def __init__(self, path: Path, sample_rate: int) -> None:
        try:
            import fluidsynth
        except ImportError as error:
            raise RendererMissing(
                "rendering needs FluidSynth (Debian: apt install libfluidsynth3) and pyfluidsynth"
            ) from error
        self._write_float = fluidsynth.cfunc(
            "fluid_synth_write_float",
            c_int,
            ("synth", c_void_p, 1),
            ("len", c_int, 1),
            ("lbuf", c_void_p, 1),
            ("loff", c_int, 1),
            ("lincr", c_int, 1),
            ("rbuf", c_void_p, 1),
            ("roff", c_int, 1),
            ("rincr", c_int, 1),
        )
        get_font = fluidsynth.cfunc(
            "fluid_synth_get_sfont_by_id", c_void_p, ("synth", c_void_p, 1), ("id", c_int, 1)
        )
        self._add_font = fluidsynth.cfunc(
            "fluid_synth_add_sfont", c_int, ("synth", c_void_p, 1), ("sfont", c_void_p, 1)
        )
        self._get_preset = fluidsynth.cfunc(
            "fluid_sfont_get_preset",
            c_void_p,
            ("sfont", c_void_p, 1),
            ("bank", c_int, 1),
            ("program", c_int, 1),
        )
        self._remove_font = fluidsynth.cfunc(
            "fluid_synth_remove_sfont", c_int, ("synth", c_void_p, 1), ("sfont", c_void_p, 1)
        )
        # A synthesizer without its font warns about every channel; here that is its end, not news.
        fluidsynth.cfunc(
            "fluid_set_log_function",
            c_void_p,
            ("level", c_int, 1),
            ("fun", c_void_p, 1),
            ("data", c_void_p, 1),
        )(_FLUID_WARN, None, None)
        self.sample_rate = sample_rate
        self._new_synth = fluidsynth.Synth
        self._owner = self._synthesizer()
        number = self._owner.sfload(str(path))
        if number < 0:
            raise ValueError(f"not a readable sound font: {path.name}")
        self._font = get_font(self._owner.synth, number)

    def _synthesizer(self) -> Any:
        # Room and chorus are our own; FluidSynth's would keep state.
        options = {
            "synth.reverb.active": 0,
            "synth.chorus.active": 0,
            "synth.polyphony": 192,
            "synth.dynamic-sample-loading": 0,
        }
        return self._new_synth(
            gain=0.35, samplerate=float(self.sample_rate), channels=16, **options
        )

    def render(self, notes: Sequence[Note], samples: int) -> NDArray[np.float32]:
        """Render notes to float32 [2, samples]. Notes of the role "drums" use the drum bank."""
        # A new synthesizer every time: a used one keeps filter state in its voices, and the same
        # notes would sound a little different after another piece. Only the font is shared.
        synth = self._synthesizer()
        number = self._add_font(synth.synth, self._font)
        try:
            self._select_programs(synth, number, notes)
            out = np.zeros((2, samples), dtype=np.float32)
            position = 0
            for at, _, channel, pitch, velocity in self._events(notes, samples):
                self._write(synth, out, position, at)
                position = at
                if velocity:
                    synth.noteon(channel, pitch, velocity)
                else:
                    synth.noteoff(channel, pitch)
            self._write(synth, out, position, samples)
        finally:
            self._remove_font(synth.synth, self._font)
            synth.delete()
        return out

    def _channels(self, notes: Sequence[Note]) -> dict[tuple[str, int], int]:
        melodic = [channel for channel in range(16) if channel != _DRUM_CHANNEL]
        channels: dict[tuple[str, int], int] = {}
        for voice in sorted({(note.channel_role, note.program) for note in notes}):
            channels[voice] = _DRUM_CHANNEL if voice[0] == "drums" else melodic.pop(0)
        return channels

    def _select_programs(self, synth: Any, font: int, notes: Sequence[Note]) -> None:
        for (role, program), channel in self._channels(notes).items():
            bank = _DRUM_BANK if role == "drums" else 0
            choices = [program, program - program % _KIT_FAMILY] if bank else [program]
            there = [choice for choice in choices if self._get_preset(self._font, bank, choice)]
            synth.program_select(channel, font, bank, there[0] if there else 0)

    def _events(self, notes: Sequence[Note], samples: int) -> list[tuple[int, int, int, int, int]]:
        """(sample, order, channel, pitch, velocity), velocity 0 for the end; ends before starts."""
        channels = self._channels(notes)
        events = []
        for note in notes:
            channel = channels[note.channel_role, note.program]
            start = round(note.start * self.sample_rate)
            end = max(start + 1, round((note.start + note.duration) * self.sample_rate))
            events.append((start, 1, channel, note.pitch, note.velocity))
            events.append((end, 0, channel, note.pitch, 0))
        return sorted(event for event in events if event[0] < samples)

    def _write(self, synth: Any, out: NDArray[np.float32], start: int, end: int) -> None:
        if end <= start:
            return
        left = out[0, start:end].ctypes.data_as(c_void_p)
        right = out[1, start:end].ctypes.data_as(c_void_p)
        self._write_float(synth.synth, end - start, left, 0, 1, right, 0, 1)


@lru_cache(maxsize=4)
def open_font(path: Path, sample_rate: int) -> SoundFont:
    """The loaded font, kept for the life of the process: loading takes seconds."""
    return SoundFont(path, sample_rate)
