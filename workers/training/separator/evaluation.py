"""How well a separator separates rendered pieces: SDR by stem, and its gain over doing nothing."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from demucs.apply import apply_model
from demucs.hdemucs import HDemucs
from numpy.typing import NDArray

from workers.training.data.corpus import list_pieces, load_piece
from workers.training.data.remix import piece_frames
from workers.training.separator.model import SOURCES

Samples = NDArray[np.float32]
Scores = dict[str, dict[str, list[float]]]

_SILENT_POWER = 1e-8


def sdr(reference: Samples, estimate: Samples) -> float:
    """Signal-to-distortion ratio over the whole excerpt, dB (Music Demixing Challenge 2021).

    A silent estimate scores 0; the reference must not be silent.
    """
    signal = float(np.sum(reference.astype(np.float64) ** 2))
    error = float(np.sum((reference.astype(np.float64) - estimate) ** 2))
    return 10 * math.log10((signal + 1e-7) / (error + 1e-7))


def separate(model: HDemucs, mixture: Samples) -> Samples:
    """Sources float32 [4, 2, samples] of a mixture float32 [2, samples] at 44.1 kHz."""
    model.eval()
    with torch.inference_mode():
        batch = torch.from_numpy(mixture)[None]
        estimate = apply_model(model, batch, shifts=0, split=True, overlap=0.1, segment=10)
    return np.asarray(estimate[0].numpy(), dtype=np.float32)


def empty_scores() -> Scores:
    """No scores yet: {"model" | "mixture": {stem: []}}."""
    return {who: {source: [] for source in SOURCES} for who in ("model", "mixture")}


def score(model: HDemucs, stems: Sequence[Samples], scores: Scores) -> None:
    """Add to ``scores`` what the model makes of the sum of ``stems``, in the order of SOURCES.

    A stem that does not sound has no SDR and is left out.
    """
    mixture = np.asarray(np.sum(stems, axis=0), dtype=np.float32)
    estimates = separate(model, mixture)
    for source, reference, estimate in zip(SOURCES, stems, estimates, strict=True):
        if np.mean(reference**2) >= _SILENT_POWER:
            scores["model"][source].append(sdr(reference, estimate))
            scores["mixture"][source].append(sdr(reference, mixture))


def evaluate(
    model: HDemucs,
    corpus: Path,
    split: str,
    pieces: int | None = None,
    report: Callable[[str], None] = print,
) -> Scores:
    """SDR of every stem that sounds, by piece: {"model" | "mixture": {stem: [dB, ...]}}.

    A piece whose stems are missing, unreadable, of different length or all silent is skipped;
    ``report`` is told its name and why.
    """
    scores = empty_scores()
    for folder in list_pieces(corpus, split)[:pieces]:
        try:
            piece_frames(folder, SOURCES)
            piece = load_piece(folder)
            stems = [piece.stem(source) for source in SOURCES]
            if all(np.mean(stem**2) < _SILENT_POWER for stem in stems):
                raise ValueError("all its stems are silent")
        except (ValueError, soundfile.LibsndfileError) as error:
            report(f"skipped piece {folder.name}: {error}")
            continue
        score(model, stems, scores)
    return scores


def means(scores: Scores) -> dict[str, float]:
    """Mean SDR by stem, dB, of the stems that were scored."""
    return {s: round(float(np.mean(v)), 2) for s, v in scores["model"].items() if v}


def gains(scores: Scores) -> dict[str, list[float]]:
    """By stem and piece: SDR less that of the better of the mixture and silence (0 dB)."""
    return {
        source: [m - max(x, 0.0) for m, x in zip(values, scores["mixture"][source], strict=True)]
        for source, values in scores["model"].items()
    }


def table(scores: Scores) -> str:
    """The scores as lines of text, with the gain over the better of mixture and silence."""
    lines = [f"{'SDR, dB':8} {'pieces':>6} {'median':>7} {'mean':>6} {'mixture':>8} {'gain':>6}"]
    over = gains(scores)
    for source in SOURCES:
        values, mixture = scores["model"][source], scores["mixture"][source]
        if values:
            lines.append(
                f"{source:8} {len(values):6d} {np.median(values):7.2f} {np.mean(values):6.2f} "
                f"{np.mean(mixture):8.2f} {np.mean(over[source]):6.2f}"
            )
    scored = [source for source in SOURCES if scores["model"][source]]
    if scored:
        lines.append(
            f"{'mean':8} {'':6} {'':7} "
            f"{np.mean([np.mean(scores['model'][s]) for s in scored]):6.2f} "
            f"{np.mean([np.mean(scores['mixture'][s]) for s in scored]):8.2f} "
            f"{np.mean([np.mean(over[s]) for s in scored]):6.2f}"
        )
    lines.append("gain: over the better of the mixture and silence (0 dB), piece by piece")
    return "\n".join(lines)
