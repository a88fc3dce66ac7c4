"""Render a composition to four stems of audio, treated as a seed's mix engineer would."""

from pathlib import Path

import numpy as np

from workers.training.data import bass_synthesis, drum_synthesis, effects, voice
from workers.training.data.effects import Stem
from workers.training.data.melodic_parts import VOICE_PROGRAM
from workers.training.data.score import Composition, Note
from workers.training.data.soundfont import open_font
from workers.training.data.styles import SYNTHESISED

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
    if notes[0].program == SYNTHESISED:
        instrument = drum_synthesis if stem == "drums" else bass_synthesis
        return instrument.play(notes, samples, sample_rate, rng)
    if stem == "vocals" and notes[0].program == VOICE_PROGRAM:
        return voice.sing(notes, samples, sample_rate, rng)
    return open_font(font, sample_rate).render(notes, samples)


def _treat(audio: Stem, stem: str, sample_rate: int, rng: np.random.Generator, plain: bool) -> Stem:
    """Equaliser, compressor, drive, room, width and noise, as far as the generator says."""
    rhythm = stem in ("bass", "drums")
    if plain:
        amount = {"drums": 0.12, "bass": 0.02, "other": 0.2, "vocals": 0.25}[stem]
        return effects.room(audio, 0.6, amount, sample_rate, rng)
    bands = [
        (
            float(np.exp(rng.uniform(np.log(60), np.log(9000)))),
            rng.normal(0, 4),
            rng.uniform(0.5, 2),
        )
        for _ in range(rng.integers(0, 4))
    ]
    treated = effects.equalise(audio, bands, sample_rate)
    if rng.random() < (0.5 if rhythm else 0.3):
        threshold, ratio = rng.uniform(-24, -8), rng.uniform(1.5, 6.0)
        release = rng.uniform(0.05, 0.3)
        treated = effects.compress(treated, threshold, ratio, release, sample_rate)
    if rng.random() < (0.3 if rhythm else 0.15):
        treated = effects.drive(treated, rng.uniform(0.5, 2.0))
    if rng.random() < {"drums": 0.45, "bass": 0.15, "other": 0.6, "vocals": 0.75}[stem]:
        seconds = rng.uniform(0.15, 0.4 if rhythm else 0.9)
        amount = rng.uniform(0.05, 0.1 if stem == "bass" else 0.3)
        treated = effects.room(treated, seconds, amount, sample_rate, rng)
    width = rng.uniform(0.0, 0.4) if stem == "bass" else rng.uniform(0.3, 1.4)
    treated = effects.widen(treated, width, rng.normal(0.0, 0.08))
    if rng.random() < 0.1:
        treated = effects.hiss(treated, rng.uniform(-70, -55), rng)
    return np.asarray(treated, dtype=np.float32)


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
