"""Which style a drum part is played in, told by a classifier trained on real renders.

What it looks at says nothing of the tempo, which is the song's and not the drummer's: where in the
bar and in the beat each band of the spectrum has its onsets, and what the kit sounds like. Bars and
beats are the song's own, known from its composition.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from workers.benchmarks.rhythm import RATE, heard
from workers.compiled_librosa import librosa

Samples = NDArray[np.float32]

_HOP = 220
_BAND_EDGES_HZ = (0.0, 150.0, 500.0, 2500.0, 6000.0, 11025.0)
_BAR_PLACES, _BEAT_PLACES = 16, 12
_LOUD = 80


def _folded(bands: NDArray[np.float64], marks: Sequence[float], places: int) -> NDArray[np.float64]:
    """Mean onset strength at each place between two marks, [bands, places]; mean one."""
    times = np.arange(bands.shape[1]) * _HOP / RATE
    total = np.zeros((len(bands), places))
    fine = 4 * places
    for begin, end in pairwise(marks):
        # A place reaches from a little before its time to the next one: players are early or late.
        grid = begin + (np.arange(fine) - 1.5) / fine * (end - begin)
        strength = np.stack([np.interp(grid, times, band) for band in bands])
        total += strength.reshape(len(bands), places, 4).max(axis=2)
    return total / (total.mean() + 1e-9)


def style_features(
    audio: Samples, sample_rate: int, beats: Sequence[float], downbeats: Sequence[float]
) -> NDArray[np.float64]:
    """What the classifier looks at in a drum part, float64 [features].

    Args:
        audio: float32 [T], mono.
        sample_rate: Hz.
        beats, downbeats: of the song, in seconds from the part's first sample.
    """
    sound = heard(audio, sample_rate)
    spectrum = np.square(np.abs(librosa.stft(sound, n_fft=1024, hop_length=_HOP)))
    mel = librosa.feature.melspectrogram(S=spectrum, sr=RATE, n_mels=64)
    level = librosa.power_to_db(mel, ref=max(float(mel.max()), 1e-10), top_db=70)
    cepstrum = librosa.feature.mfcc(S=level, n_mfcc=14)[1:]
    flux = np.maximum(0.0, np.diff(level, axis=1, prepend=level[:, :1]))
    centres = librosa.mel_frequencies(66, fmin=0, fmax=RATE / 2)[1:-1]
    bands = np.stack(
        [
            flux[(centres >= low) & (centres < high)].mean(axis=0)
            for low, high in pairwise(_BAND_EDGES_HZ)
        ]
    ).astype(np.float64)
    total = bands.sum(axis=0)
    loud = total >= np.percentile(total, _LOUD)
    hits = [
        len(librosa.util.peak_pick(
            band / (band.max() + 1e-9), pre_max=3, post_max=3, pre_avg=10, post_avg=10, delta=0.1,
            wait=6))
        for band in bands
    ]  # fmt: skip
    return np.concatenate(
        [
            _folded(bands, downbeats, _BAR_PLACES).ravel(),
            _folded(bands, beats, _BEAT_PLACES).ravel(),
            cepstrum.mean(axis=1),
            cepstrum.std(axis=1),
            cepstrum[:, loud].mean(axis=1),
            np.asarray(hits) / max(1, len(beats)),
            bands.mean(axis=1) / (bands.mean() + 1e-9),
        ]
    )


class StyleClassifier:
    """Logistic regression on standardised features.

    Args:
        features: of real renders, [pieces, features].
        styles: theirs.
    """

    def __init__(self, features: NDArray[np.float64], styles: Sequence[str]) -> None:
        self._model: Pipeline = make_pipeline(
            StandardScaler(), LogisticRegression(C=0.03, max_iter=2000)
        )
        self._model.fit(features, list(styles))

    @property
    def styles(self) -> tuple[str, ...]:
        """Those it can tell."""
        return tuple(str(style) for style in self._model.classes_)

    def tell(self, features: NDArray[np.float64]) -> str:
        """The likeliest style of one part's features [features]."""
        return str(self._model.predict(features[None])[0])
