"""What a codec keeps of a stem: figures on pieces that it was not trained on."""

import mir_eval
import numpy as np
import torch
from torch import Tensor

from workers.compiled_librosa import librosa
from workers.regeneration.codecs import BassCodec, Codec

from .bass import pitch_labels
from .losses import measured_mel
from .stems import Stem

ONSET_WINDOW = 0.05
"""Seconds within which an onset counts as kept, as is usual in onset evaluation."""


def resynthesised(codec: Codec, audio: np.ndarray, codebooks: int) -> np.ndarray:
    """float32 [T] through the codec's first `codebooks` codebooks and back."""
    codes = codec.encode(torch.from_numpy(audio)[None, None])
    made: np.ndarray = codec.decode(codes[:, :codebooks])[0, 0, : len(audio)].numpy()
    return made


def onsets(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Times of onsets in seconds: peaks of spectral flux, 8 ms apart."""
    hop = sample_rate // 125
    times: np.ndarray = librosa.onset.onset_detect(
        y=audio, sr=sample_rate, hop_length=hop, units="time"
    )
    return times


def pitches(audio: np.ndarray, codec: Codec) -> np.ndarray:
    """MIDI note numbers [F] of the codec's frames by pYIN (Mauch & Dixon 2014); NaN: no pitch."""
    track, voiced, _ = librosa.pyin(
        audio,
        fmin=30,
        fmax=500,
        sr=codec.sample_rate,
        frame_length=2048,
        hop_length=codec.hop,
        resolution=0.2,
    )
    midi: np.ndarray = np.where(voiced, librosa.hz_to_midi(np.where(voiced, track, 440.0)), np.nan)
    return midi


def _same_class(a: np.ndarray, b: np.ndarray) -> float:
    """Share of the frames pitched in both whose pitch classes are within half a semitone."""
    both = ~(np.isnan(a) | np.isnan(b))
    if not both.any():
        return float("nan")
    away = np.abs((a[both] - b[both] + 6) % 12 - 6)
    return float((away < 0.5).mean())


def _mel(a: np.ndarray, b: np.ndarray, sample_rate: int) -> float:
    distance: Tensor = measured_mel(sample_rate)(
        torch.from_numpy(a)[None, None], torch.from_numpy(b)[None, None]
    )
    return float(distance)


def figures(
    codec: Codec, stems: list[Stem], codebooks: int, seconds: float = 10.0
) -> dict[str, float]:
    """Means over the first `seconds` of each stem, resynthesised by `codebooks` codebooks.

    Returns:
        `log_mel_l1`, and with silence in place of the resynthesis `log_mel_l1_silence`; `onset_f1`
        against the onsets found in the original. For bass also the share of frames in the right
        pitch class by pYIN: `pitch_class` against pYIN on the original, `pitch_class_notes`
        against the notes played, `pitch_class_original` pYIN on the original against the notes
        (the ceiling), and `voiced`, the share of the original's pitched frames that are pitched in
        the resynthesis.
    """
    rows: list[dict[str, float]] = []
    for stem in stems:
        audio = stem.audio()[: int(seconds * codec.sample_rate)]
        made = resynthesised(codec, audio, codebooks)
        row = {
            "log_mel_l1": _mel(made, audio, codec.sample_rate),
            "log_mel_l1_silence": _mel(np.zeros_like(audio), audio, codec.sample_rate),
        }
        true, found = onsets(audio, codec.sample_rate), onsets(made, codec.sample_rate)
        if len(true):
            row["onset_f1"] = mir_eval.onset.f_measure(true, found, window=ONSET_WINDOW)[0]
        if isinstance(codec, BassCodec):
            row |= _pitch_row(codec, stem, audio, made)
        rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {n: float(np.nanmean([row[n] for row in rows if n in row])) for n in names}


def _pitch_row(
    codec: BassCodec, stem: Stem, audio: np.ndarray, made: np.ndarray
) -> dict[str, float]:
    real, again = pitches(audio, codec), pitches(made, codec)
    frames = min(len(real), len(again), len(audio) // codec.hop)
    labels = pitch_labels(codec, stem)[:frames]
    played = np.where(labels > 0, codec.grid.pitch(torch.from_numpy(labels)).numpy(), np.nan)
    # pYIN's frames are centred on multiples of the hop, the codec's on the middle between two.
    real, again = real[:frames], again[:frames]
    voiced = ~np.isnan(real)
    return {
        "pitch_class": _same_class(again, real),
        "pitch_class_notes": _same_class(again, played),
        "pitch_class_original": _same_class(real, played),
        "voiced": float((~np.isnan(again))[voiced].mean()) if voiced.any() else float("nan"),
    }
