"""Spectral losses from audiocraft."""

from collections.abc import Sequence

import workers.compiled_librosa  # noqa: F401 - audiocraft imports librosa
from workers.regeneration.torchaudio_stub import make_torchaudio_importable

make_torchaudio_importable()

from audiocraft.losses import MelSpectrogramL1Loss  # noqa: E402


def mel_losses(sample_rate: int, scales: Sequence[tuple[int, int]]) -> list[MelSpectrogramL1Loss]:
    """L1 between log-mel spectra (log10 of power), for each (window in samples, bands)."""
    return [
        MelSpectrogramL1Loss(
            sample_rate, n_fft=size, hop_length=size // 4, win_length=size, n_mels=bands
        )
        for size, bands in scales
    ]


def measured_mel(sample_rate: int) -> MelSpectrogramL1Loss:
    """The log-mel distance that is reported: 80 bands, 1024-sample windows, log10 of power."""
    return MelSpectrogramL1Loss(sample_rate, n_fft=1024, hop_length=256, win_length=1024, n_mels=80)
