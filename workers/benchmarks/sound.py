"""Measures of sound: distance of spectra, jumps at seams, what was kept, distortion."""

from collections.abc import Sequence

import numpy as np
import soxr
from numpy.typing import NDArray

from workers.compiled_librosa import librosa

Samples = NDArray[np.float32]

_RATE = 22_050
_HOP = 110
_APART = 4
_REACH_S = 0.06
_FLOOR_DB = 60.0


def log_mel_distance(made: Samples, original: Samples, sample_rate: int) -> float:
    """Mean absolute difference of log-mel spectra: 80 bands, 1,024 samples, log10 of power.

    The definition of audiocraft's ``MelSpectrogramL1Loss`` (floor 1e-5), computed by librosa.

    Args:
        made, original: float32 [T] at ``sample_rate`` Hz; the shorter one counts.
    """
    samples = min(len(made), len(original))
    spectra = [
        librosa.feature.melspectrogram(
            y=audio[:samples],
            sr=sample_rate,
            n_fft=1024,
            hop_length=256,
            n_mels=80,
            htk=True,
            norm=None,
        )
        for audio in (made, original)
    ]
    a, b = (np.log10(1e-5 + spectrum) for spectrum in spectra)
    return float(np.abs(a - b).mean())


def from_magnitudes(audio: Samples, sample_rate: int, frame_rate: float) -> Samples:
    """What can be rebuilt of a sound from the magnitudes alone of so many frames a second.

    Nothing is coded: half-overlapping frames with all their bins, phases by the fast Griffin-Lim
    algorithm (Perraudin et al. 2013). A codec of that frame rate that models magnitudes and
    invents phases has this to reach.

    Args:
        audio: float32 [T] at ``sample_rate`` Hz.
        frame_rate: frames a second.
    """
    hop = round(sample_rate / frame_rate)
    magnitudes = np.abs(librosa.stft(audio, n_fft=2 * hop, hop_length=hop))
    rebuilt = librosa.griffinlim(
        magnitudes, n_fft=2 * hop, hop_length=hop, length=len(audio), random_state=0
    )
    return np.asarray(rebuilt, dtype=np.float32)


def spectral_jumps(audio: Samples, sample_rate: int, times: Sequence[float]) -> list[float]:
    """How far the spectrum jumps around each time, in dB.

    The mean absolute change of 40 log-mel bands within 20 ms, at its largest within 60 ms of the
    time; bands 60 dB under the loudest are silent. An onset jumps, and so does a click.
    """
    sound = soxr.resample(audio, sample_rate, _RATE)
    mel = librosa.feature.melspectrogram(y=sound, sr=_RATE, n_fft=512, hop_length=_HOP, n_mels=40)
    level = librosa.power_to_db(mel, ref=max(float(mel.max()), 1e-10), top_db=_FLOOR_DB)
    change = np.abs(level[:, _APART:] - level[:, :-_APART]).mean(axis=0)
    # Column f of `change` compares frames f and f + _APART: it stands for the middle of the two.
    centres = (np.arange(len(change)) + _APART / 2) * _HOP / _RATE
    return [float(change[np.abs(centres - time) <= _REACH_S].max(initial=0.0)) for time in times]


def kept_share(made: Samples, original: Samples, kept: NDArray[np.bool_]) -> float:
    """Share of the samples under ``kept`` bool [T] that are the original's own, bit for bit.

    Args:
        made, original: float32 [..., T].
    """
    same = np.all(np.atleast_2d(made == original), axis=0)
    return float(same[kept].mean()) if kept.any() else 1.0


def sdr(reference: Samples, estimate: Samples) -> float:
    """Signal-to-distortion ratio in dB, ``|s|^2 / |s - e|^2`` over all channels (the MDX one)."""
    signal = float(np.sum(np.square(reference, dtype=np.float64)))
    noise = float(np.sum(np.square(reference.astype(np.float64) - estimate)))
    return 10.0 * float(np.log10((signal + 1e-9) / (noise + 1e-9)))
