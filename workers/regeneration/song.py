"""A part for a whole song: windows that continue each other, decoded, ranked, trimmed."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from workers.regeneration.codecs import Codec
from workers.regeneration.conditioning import context_features
from workers.regeneration.model import ConditionedMusicgen, Window
from workers.regeneration.ranking import scores
from workers.regeneration.request import Generation, GenerationRequest
from workers.regeneration.sampling import sample_window


def window_starts(frames: int, window: int, overlap: int) -> list[int]:
    """First frames of the windows that cover a song, each with ``overlap`` frames of the last."""
    hop = window - overlap
    return [hop * i for i in range(max(1, math.ceil((frames - overlap) / hop)))]


def _generators(seed: int, candidates: int) -> list[torch.Generator]:
    """One for each candidate: adding candidates changes none of the others."""
    return [
        torch.Generator().manual_seed((seed * 1_000_003 + candidate) % 2**63)
        for candidate in range(candidates)
    ]


@torch.inference_mode()
def generate_codes(
    model: ConditionedMusicgen,
    features: Tensor,
    request: GenerationRequest,
    advance: Callable[[float], None],
) -> Tensor:
    """Codes of every candidate, int64 [C, K, F], for features float32 [FEATURES, F] of the song.

    ``advance`` is told the share of frames done before every model step; what it raises ends it.
    """
    config = model.config
    frames, count = features.shape[1], request.candidates
    margin = config.margin
    padded = functional.pad(features, (margin, margin))
    present = functional.pad(torch.ones(frames), (margin, margin))
    style = len(config.styles) if request.style is None else config.styles.index(request.style)
    codes = torch.zeros(count, config.codebooks, frames, dtype=torch.int64)
    fixed = torch.zeros(frames, dtype=torch.bool)
    if request.kept_codes is not None and request.kept_mask is not None:
        fixed = request.kept_mask.clone()
        codes[:] = torch.where(fixed, request.kept_codes, 0)
    generators = _generators(request.seed, count)
    for start in window_starts(frames, config.window, config.overlap):
        end = min(start + config.window, frames)
        seen = slice(start, end + 2 * margin)
        window = Window(
            features=padded[None, :, seen].expand(count, -1, -1),
            present=present[None, seen].expand(count, -1),
            style=torch.full((count,), style),
            kept_codes=codes[:, :, start:end],
            kept_mask=fixed[None, start:end].expand(count, -1),
        )

        def after_step(done: int, start: int = start) -> None:
            advance((start + done) / frames)

        codes[:, :, start:end] = sample_window(
            model, window, request.sampling, generators, after_step
        )
        fixed[start:end] = True
    return codes


@torch.inference_mode()
def generate(
    model: ConditionedMusicgen,
    codec: Codec,
    request: GenerationRequest,
    advance: Callable[[float], None] = lambda progress: None,
) -> Generation:
    """Make a part: sample all candidates, decode them, return the one that fits best.

    Raises:
        NonFiniteLogits: from the model.
        Exception: whatever ``advance`` raises, between two steps of the model.
    """
    samples = request.context.shape[1]
    features = context_features(request.context, codec.sample_rate)[0]
    # The last percent is decoding and ranking.
    codes = generate_codes(model, features, request, lambda share: advance(0.99 * share))
    parts = []
    for candidate in codes:
        advance(0.99)
        parts.append(codec.decode(candidate[None])[0, 0, :samples])
    audio = torch.stack(parts)
    if not bool(torch.isfinite(audio).all()):
        raise ArithmeticError("the codec decoded samples that are not finite")
    judged = scores(model.config.part, audio, request.context, codec.sample_rate)
    chosen = max(range(len(judged)), key=judged.__getitem__)
    return Generation(
        audio=audio[chosen : chosen + 1],
        codes=codes[chosen],
        seed=request.seed,
        chosen=chosen,
        scores=tuple(judged),
    )
