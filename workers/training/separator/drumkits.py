"""Drum parts played by recorded drums: kits of the drum machine Hydrogen, one sample a stroke.

Nothing is trained on them; they stand for drums that no renderer made.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

Samples = NDArray[np.float32]

_ROLES: tuple[tuple[str, tuple[int, ...], str], ...] = (
    ("kick", (35, 36), r"kick|bass ?drum"),
    ("snare", (38, 40), r"^(?!.*(roll|rim)).*snare"),
    ("stick", (37,), r"stick|rim"),
    ("clap", (39,), r"clap"),
    ("closed hat", (42,), r"closed"),
    ("pedal hat", (44,), r"^(?!.*tamb).*pedal"),
    ("open hat", (46,), r"^(?!.*semi).*open"),
    ("low tom", (41, 43), r"tom low|floor"),
    ("middle tom", (45, 47), r"tom (mid|2)|^tom$"),
    ("high tom", (48, 50), r"tom (hi|1)|^tom$"),
    ("crash", (49, 52, 55, 57), r"crash"),
    ("ride", (51, 53, 59), r"ride"),
)
"""Name, General MIDI notes and pattern of the instrument's name in lower case."""

_NEEDED = ("kick", "snare", "closed hat")
_HATS = (42, 44, 46)
_CHOKE_SECONDS = 0.02


@dataclass(frozen=True)
class _Layer:
    """A recorded stroke and the least velocity, 0 to 1, that it is for."""

    least: float
    audio: Samples


@dataclass(frozen=True)
class DrumKit:
    """Recorded strokes by General MIDI note, softest first."""

    name: str
    sample_rate: int
    strokes: Mapping[int, Sequence[_Layer]]

    def play(self, notes: Iterable[Mapping[str, Any]], frames: int) -> Samples:
        """The notes as audio, float32 [2, frames].

        Args:
            notes: each with "start" (seconds), "pitch" (General MIDI) and "velocity" (1-127).
                Percussion that the kit lacks is not played.
            frames: length in samples.
        """
        out = np.zeros((2, frames), dtype=np.float32)
        played = sorted((n for n in notes if n["pitch"] in self.strokes), key=lambda n: n["start"])
        hats = [n["start"] for n in played if n["pitch"] in _HATS]
        for note in played:
            velocity = note["velocity"] / 127
            layers = self.strokes[note["pitch"]]
            audio = next((x for x in reversed(layers) if x.least <= velocity), layers[0]).audio
            if note["pitch"] in _HATS:
                after = min((h for h in hats if h > note["start"]), default=note["start"])
                audio = self._choked(audio, after - note["start"])
            start = round(note["start"] * self.sample_rate)
            length = min(audio.shape[1], frames - start)
            if length > 0:
                out[:, start : start + length] += np.float32(velocity) * audio[:, :length]
        return out

    def _choked(self, audio: Samples, seconds: float) -> Samples:
        """A hat rings until the next stroke on it, `seconds` later; for good if none comes."""
        fade = round(_CHOKE_SECONDS * self.sample_rate)
        end = round(seconds * self.sample_rate)
        if seconds <= 0 or end + fade >= audio.shape[1]:
            return audio
        short = audio[:, : end + fade].copy()
        short[:, end:] *= np.linspace(1, 0, fade, dtype=np.float32)
        return short


def load_kit(folder: Path, sample_rate: int = 44100) -> DrumKit:
    """Read a Hydrogen kit: ``drumkit.xml`` and the samples beside it.

    Raises:
        ValueError: no kick, snare or closed hi-hat in it, or its description cannot be read.
    """
    try:
        # The kit lies on the disk of whoever measures; it does not come from a network.
        tree = ET.parse(folder / "drumkit.xml")  # noqa: S314
    except (OSError, ET.ParseError) as error:
        raise ValueError(f"{folder.name}: no readable drumkit.xml ({error})") from error
    found: dict[str, list[_Layer]] = {}
    for instrument in tree.iterfind(".//{*}instrument"):
        name = (instrument.findtext("{*}name") or "").lower()
        for role, _, pattern in _ROLES:
            if role not in found and re.search(pattern, name):
                layers = _layers(instrument, folder, sample_rate)
                if layers:
                    found[role] = layers
    missing = [role for role in _NEEDED if role not in found]
    if missing:
        raise ValueError(f"{folder.name}: no {', '.join(missing)} in this kit")
    strokes = {note: found[role] for role, notes, _ in _ROLES if role in found for note in notes}
    return DrumKit(folder.name, sample_rate, strokes)


def find_kits(root: Path, report: Callable[[str], None] = print) -> list[DrumKit]:
    """The usable kits anywhere under ``root``, by name; ``report`` is told which are not."""
    kits = []
    for path in sorted(root.rglob("drumkit.xml")):
        try:
            kits.append(load_kit(path.parent))
        except (ValueError, soundfile.LibsndfileError) as error:
            report(f"skipped kit {error}")
    return kits


def _layers(instrument: ET.Element, folder: Path, sample_rate: int) -> list[_Layer]:
    layers = []
    for element in list(instrument.iterfind(".//{*}layer")) or [instrument]:
        path = folder / (element.findtext("{*}filename") or "")
        if not path.is_file():
            continue
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
        if len(audio) == 0:
            continue
        if rate != sample_rate:
            audio = soxr.resample(audio, rate, sample_rate)
        stereo = np.repeat(audio, 2, axis=1) if audio.shape[1] == 1 else audio[:, :2]
        least = float(element.findtext("{*}min") or 0.0)
        layers.append(_Layer(least, np.ascontiguousarray(stereo.T, dtype=np.float32)))
    return sorted(layers, key=lambda layer: layer.least)
