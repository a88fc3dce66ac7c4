"""Render a composition to four stems of audio, treated as a seed's mix engineer would."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve, sosfilt

from workers.training.data import drum_synthesis, voice
from workers.training.data.players import VOICE_PROGRAM
from workers.training.data.score import Composition, Note
from workers.training.data.soundfont import open_font
from workers.training.data.styles import SYNTHESISED_KIT

Stem = NDArray[np.float32]

_LEVEL_DB = {"drums": -20.0, "bass": -20.5, "other": -19.5, "vocals": -21.5}
"""Usual RMS of each stem before the mix is scaled, dB of full scale, over what is not silent."""


def render(
    composition: Composition,
    font: Path,
    seed: int,
    sample_rate: int = 44100,
    *,
    plain: bool = False,
) -> dict[str, Stem]:
    """Render every stem of a piece.

    Args:
        composition: what to play.
        font: the sound font (.sf2 or .sf3).
        seed: of levels, equalisers, rooms, drive and synthesised sounds; same seed, same samples.
        sample_rate: Hz.
        plain: leave out the random differences (a demo, not training data); a room stays.

    Returns:
        float32 [2, samples] for each of drums, bass, other and vocals, all of one length; no stem
        nor their sum exceeds full scale. A stem without notes is all zeros.

    Raises:
        workers.training.data.soundfont.RendererMissing: FluidSynth is not installed.
    """
    samples = round(composition.duration * sample_rate)
    stems: dict[str, Stem] = {}
    for index, (stem, notes) in enumerate(composition.notes.items()):
        rng = np.random.default_rng((seed, index))
        dry = _play(stem, notes, font, samples, sample_rate, rng)
        if not np.any(dry):
            stems[stem] = np.zeros((2, samples), dtype=np.float32)
            continue
        wet = _treat(dry, stem, sample_rate, rng, plain)
        spread = 0.0 if plain else float(np.clip(rng.normal(0.0, 3.0), -8.0, 6.0))
        stems[stem] = _level(wet, _LEVEL_DB[stem] + spread)
    ceiling = 0.9 if plain else float(np.random.default_rng((seed, 99)).uniform(0.4, 0.95))
    peak = max(
        float(np.max(np.abs(sum(stems.values(), np.zeros((2, samples), dtype=np.float32))))),
        *(float(np.max(np.abs(stem))) for stem in stems.values()),
    )
    scale = np.float32(ceiling / peak) if peak > 0 else np.float32(1.0)
    return {stem: audio * scale for stem, audio in stems.items()}


def _play(
    stem: str,
    notes: list[Note],
    font: Path,
    samples: int,
    sample_rate: int,
    rng: np.random.Generator,
) -> Stem:
    if not notes:
        return np.zeros((2, samples), dtype=np.float32)
    if stem == "drums" and notes[0].program == SYNTHESISED_KIT:
        return drum_synthesis.play(notes, samples, sample_rate, rng)
    if stem == "vocals" and notes[0].program == VOICE_PROGRAM:
        return voice.sing(notes, samples, sample_rate, rng)
    return open_font(font, sample_rate).render(notes, samples)


def _treat(audio: Stem, stem: str, sample_rate: int, rng: np.random.Generator, plain: bool) -> Stem:
    """Equaliser, drive, room and width, as far as the generator says."""
    treated = np.asarray(audio, dtype=np.float32)
    if not plain:
        for _ in range(rng.integers(0, 3)):
            frequency = float(np.exp(rng.uniform(np.log(60), np.log(9000))))
            gain, q = rng.normal(0, 4), rng.uniform(0.5, 2)
            treated = _peaking(treated, frequency, gain, q, sample_rate)
        if rng.random() < (0.3 if stem in ("bass", "drums") else 0.15):
            level = float(np.sqrt(np.mean(treated**2))) + 1e-9
            drive = rng.uniform(0.5, 2.0) / (8 * level)
            treated = np.tanh(treated * drive).astype(np.float32)
    chance = {"drums": 0.4, "bass": 0.15, "other": 0.6, "vocals": 0.75}[stem]
    if plain or rng.random() < chance:
        seconds = rng.uniform(0.15, 0.4 if stem in ("drums", "bass") else 0.9)
        amount = rng.uniform(0.05, 0.1 if stem == "bass" else 0.3)
        if plain:
            seconds, amount = 0.6, {"drums": 0.12, "bass": 0.02, "other": 0.2, "vocals": 0.25}[stem]
        treated = _room(treated, seconds, amount, sample_rate, rng)
    if not plain:
        middle, side = (treated[0] + treated[1]) / 2, (treated[0] - treated[1]) / 2
        width = rng.uniform(0.0, 0.4) if stem == "bass" else rng.uniform(0.3, 1.4)
        pan = rng.normal(0.0, 0.08)
        treated = np.stack(
            [(middle + width * side) * (1 - pan), (middle - width * side) * (1 + pan)]
        )
        if rng.random() < 0.1:
            hiss = rng.standard_normal(treated.shape, dtype=np.float32)
            floor = 10 ** (rng.uniform(-70, -55) / 20) * float(np.max(np.abs(treated)))
            treated = treated + np.float32(floor) * hiss
    return np.asarray(treated, dtype=np.float32)


def _peaking(audio: Stem, frequency: float, gain_db: float, q: float, sample_rate: int) -> Stem:
    """One peaking band (R. Bristow-Johnson, Audio EQ Cookbook)."""
    amplitude = 10 ** (float(np.clip(gain_db, -9, 9)) / 40)
    omega = 2 * np.pi * frequency / sample_rate
    alpha = np.sin(omega) / (2 * q)
    section = np.array(
        [
            1 + alpha * amplitude,
            -2 * np.cos(omega),
            1 - alpha * amplitude,
            1 + alpha / amplitude,
            -2 * np.cos(omega),
            1 - alpha / amplitude,
        ]
    )
    sos = (section / section[3]).astype(np.float32)[None]
    return np.asarray(sosfilt(sos, audio, axis=-1), dtype=np.float32)


def _room(
    audio: Stem, seconds: float, amount: float, sample_rate: int, rng: np.random.Generator
) -> Stem:
    """A diffuse room: decaying noise, different in each ear, mixed under the dry sound."""
    length = int(seconds * sample_rate)
    decay = np.exp(-6.9 * np.arange(length) / length).astype(np.float32)
    impulse = rng.standard_normal((2, length), dtype=np.float32) * decay
    impulse = np.diff(impulse, axis=-1, prepend=np.float32(0)) * 0.3 + impulse * 0.7
    impulse /= np.sqrt(np.sum(impulse**2, axis=-1, keepdims=True))
    wet = fftconvolve(audio, impulse, axes=-1)[:, : audio.shape[1]]
    return np.asarray(audio + np.float32(amount) * wet, dtype=np.float32)


def _level(audio: Stem, target_db: float) -> Stem:
    """Scale so that the RMS of the half-second blocks that sound is ``target_db``."""
    block = 22050
    usable = audio.shape[1] // block * block
    power = np.mean(audio[:, :usable].reshape(2, -1, block) ** 2, axis=(0, 2)) if usable else None
    if power is None or not np.any(power > 0):
        power = np.array([np.mean(audio**2)])
    loud = power[power > power.max() * 1e-3]
    gain = 10 ** (target_db / 20) / np.sqrt(np.mean(loud))
    return np.asarray(audio * np.float32(gain), dtype=np.float32)
