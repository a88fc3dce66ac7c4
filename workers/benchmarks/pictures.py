"""What a part looks like: its wave over the mix's, and its spectrogram, bars marked."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from workers.compiled_librosa import librosa

mpl.use("Agg")

from matplotlib.figure import Figure

Samples = NDArray[np.float32]

_COLUMNS = 1200
_MIX, _PART, _BAR, _DEAD = "#c9ccd1", "#1f5fa8", "#9aa0a6", "#d93025"


def _envelope(audio: Samples) -> tuple[NDArray[np.float64], Samples, Samples]:
    """Lowest and highest sample of each of 1,200 columns, and their places from 0 to 1."""
    width = max(1, len(audio) // _COLUMNS)
    whole = audio[: len(audio) // width * width].reshape(-1, width)
    return np.linspace(0, 1, len(whole)), whole.min(axis=1), whole.max(axis=1)


def draw_part(
    file: Path,
    part: Samples,
    mix: Samples,
    sample_rate: int,
    downbeats: Sequence[float] = (),
    dead: Sequence[int] = (),
) -> None:
    """Write a PNG of a part within its mix, float32 [T] both.

    Args:
        file: to write.
        part: drawn over the mix, and its mel spectrogram below, down to -80 dB.
        mix: what it plays in.
        sample_rate: Hz.
        downbeats: thin lines, seconds.
        dead: bars (from 0) that are marked in red.
    """
    seconds = len(part) / sample_rate
    figure = Figure(figsize=(8, 3), dpi=80, layout="constrained")
    wave, spectrum = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    for audio, colour in ((mix, _MIX), (part, _PART)):
        places, low, high = _envelope(audio)
        wave.fill_between(places * seconds, low, high, color=colour, linewidth=0)
    peak = max(float(np.abs(mix).max(initial=0.0)), 1e-3)
    wave.set(ylim=(-peak, peak), yticks=[])
    mel = librosa.feature.melspectrogram(
        y=part, sr=sample_rate, n_fft=2048, hop_length=512, n_mels=96, fmax=16_000
    )
    level = librosa.power_to_db(mel, ref=max(float(mel.max()), 1e-10), top_db=80)
    spectrum.imshow(
        level, origin="lower", aspect="auto", cmap="magma", extent=(0, seconds, 0, 96),
        vmin=-80, vmax=0, interpolation="nearest",
    )  # fmt: skip
    marks = librosa.mel_frequencies(98, fmax=16_000)[1:-1]
    labels = (60, 250, 1000, 4000)
    spectrum.set_yticks([float(np.searchsorted(marks, hz)) for hz in labels], labels)
    spectrum.set(xlim=(0, seconds), xlabel="s", ylabel="Hz")
    for line in downbeats:
        wave.axvline(line, color=_BAR, linewidth=0.5)
    for bar in dead:
        end = downbeats[bar + 1] if bar + 1 < len(downbeats) else seconds
        wave.axvspan(downbeats[bar], end, color=_DEAD, alpha=0.3, linewidth=0)
    figure.savefig(file)
