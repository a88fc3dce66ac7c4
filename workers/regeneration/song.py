"""A part for a whole song: windows that continue each other, decoded, ranked, trimmed."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from workers.regeneration.codecs import Codec
from workers.regeneration.conditioning import FRAME_RATE, context_features
from workers.regeneration.controls import row_of
from workers.regeneration.early import EarlySound, Listen
from workers.regeneration.model import ConditionedMusicgen, Window
from workers.regeneration.ranking import Judge, ranked
from workers.regeneration.request import Generation, GenerationRequest
from workers.regeneration.sampling import Sequence, of_window

Sampler = Callable[[Sequence, Callable[[], None]], Tensor]
"""Gives a sequence's codes, int64 [C, K, F], once it has been through a decoder; calls the other
now and then meanwhile, in the thread that called it."""

AROUND_REDONE_S = 2.0
"""What is heard before and after redone frames when candidates are compared."""


def next_window(fixed: Tensor, window: int, overlap: int) -> int | None:
    """First frame of the window to generate next, or ``None`` when every frame is there.

    It holds the first frame that is missing. A gap that leaves room for ``overlap`` fixed frames
    on both sides is put in the middle, so that what is redone hears what leads to it and what it
    must lead to; a longer one is begun with ``overlap`` frames of what came before.

    Args:
        fixed: bool [F], true where the codes are known.
        window: frames of a window.
        overlap: fewer than ``window``.
    """
    missing = (~fixed).nonzero().flatten()
    if not len(missing):
        return None
    first, frames = int(missing[0]), len(fixed)
    closed = fixed[first:].nonzero().flatten()
    gap = int(closed[0]) if len(closed) else frames - first
    before = (window - gap) // 2 if gap <= window - 2 * overlap else overlap
    return max(0, min(first - before, frames - window))


def _generators(seed: int, candidates: int, start: int) -> list[torch.Generator]:
    """One for each candidate of a window: neither depends on the others nor on windows before."""
    return [
        torch.Generator().manual_seed(
            int(np.random.SeedSequence((seed, candidate, start)).generate_state(1, np.uint64)[0])
        )
        for candidate in range(candidates)
    ]


@torch.inference_mode()
def generate_codes(
    model: ConditionedMusicgen,
    features: Tensor,
    request: GenerationRequest,
    sample: Sampler,
    advance: Callable[[float], None],
    heard: Callable[[Tensor, int], None] = lambda codes, known: None,
) -> Tensor:
    """Codes of every candidate, int64 [C, K, F], for features float32 [FEATURES, F] of the song.

    ``sample`` runs a window through the decoder. ``advance`` is told the share of frames done
    before every model step; what it raises ends it. ``heard`` is given the first candidate's
    codes now and then, and how many of its frames will not change.
    """
    config = model.config
    frames, count = features.shape[1], request.candidates
    margin = config.margin
    padded = functional.pad(features, (margin, margin))
    device = features.device
    present = functional.pad(torch.ones(frames, device=device), (margin, margin))
    style = len(config.styles) if request.style is None else config.styles.index(request.style)
    told = request.controls
    controls = torch.tensor(
        [row_of(n, told.get(n)) for n in config.controls], dtype=torch.int64, device=device
    )
    # What is known of the song is planned with on the CPU; windows are sampled on the device.
    codes = torch.zeros(count, config.codebooks, frames, dtype=torch.int64)
    fixed = torch.zeros(frames, dtype=torch.bool)
    if request.kept_codes is not None and request.kept_mask is not None:
        fixed = request.kept_mask.clone()
        codes[:] = torch.where(fixed, request.kept_codes, 0)
    total = max(1, int((~fixed).sum()))
    while (start := next_window(fixed, config.window, config.overlap)) is not None:
        end = min(start + config.window, frames)
        seen = slice(start, end + 2 * margin)
        window = Window(
            features=padded[None, :, seen].expand(count, -1, -1),
            present=present[None, seen].expand(count, -1),
            style=torch.full((count,), style, device=device),
            controls=controls.expand(count, -1),
            kept_codes=codes[:, :, start:end].to(device),
            kept_mask=fixed[None, start:end].to(device).expand(count, -1),
        )
        earlier = total - int((~fixed).sum())
        made = functional.pad((~fixed[start:end]).cumsum(0), (1, 0)).tolist()

        def before_step(done: int, earlier: int = earlier, made: list[int] = made) -> None:
            advance((earlier + made[done]) / total)

        sequence = of_window(
            model,
            window,
            request.sampling or config.sampling,
            _generators(request.seed, count, start),
            before_step,
        )

        def look(sequence: Sequence = sequence, start: int = start, end: int = end) -> None:
            complete = sequence.complete
            so_far = codes[0].clone()
            so_far[:, start:end] = sequence.codes[0]
            there = fixed.clone()
            there[start : start + complete] = True
            missing = (~there).nonzero()
            heard(so_far, int(missing[0]) if len(missing) else len(there))

        codes[:, :, start:end] = sample(sequence, look)
        fixed[start:end] = True
        look()
    return codes


def _decoded(codec: Codec, codes: Tensor, samples: int) -> Tensor:
    """Audio float32 [1, samples] of codes [K, F]; ``ArithmeticError`` if it is not finite."""
    audio = codec.decode(codes[None])[0, :, :samples]
    if not bool(torch.isfinite(audio).all()):
        raise ArithmeticError("the codec decoded samples that are not finite")
    return audio


def _judged(request: GenerationRequest, sample_rate: int) -> slice:
    """Samples that candidates are compared by: those they differ in, and what is around them."""
    samples = request.context.shape[1]
    if request.kept_mask is None or bool(request.kept_mask.all()):
        return slice(0, samples)
    redone = (~request.kept_mask).nonzero().flatten()
    around, hop = round(AROUND_REDONE_S * sample_rate), sample_rate // FRAME_RATE
    first, end = int(redone[0]) * hop - around, (int(redone[-1]) + 1) * hop + around
    return slice(max(0, first), min(samples, end))


@torch.inference_mode()
def generate(
    model: ConditionedMusicgen,
    codec: Codec,
    request: GenerationRequest,
    sample: Sampler,
    advance: Callable[[float], None] = lambda progress: None,
    listen: Listen | None = None,
) -> Generation:
    """Make a part: sample all candidates, decode them, return the one that fits best.

    ``listen`` hears the first candidate while it is being made.
    Everything is computed where ``model`` and ``codec`` are; the request and the generation lie on
    the CPU, and so do the generators of the random numbers: a device draws what the CPU draws.

    Raises:
        NonFiniteLogits: from the model.
        Exception: whatever ``advance`` raises, between two steps of the model.
    """
    samples = request.context.shape[1]
    context = request.context.to(codec.device)
    features = context_features(context, codec.sample_rate)[0]
    # The last percent is decoding and ranking.
    early = None if listen is None else EarlySound(codec, samples, listen).look
    codes = generate_codes(
        model,
        features,
        request,
        sample,
        lambda share: advance(0.99 * share),
        early or (lambda codes, known: None),
    )
    compared = _judged(request, codec.sample_rate)
    judge = Judge(context[:, compared], codec.sample_rate)
    heard = []
    # One by one, and the best once more: the candidates of a long song do not fit in memory.
    for candidate in codes.to(codec.device):
        advance(0.99)
        heard.append(judge.hear(_decoded(codec, candidate, samples)[:, compared]))
    judged = ranked(model.config.part, heard, request.density)
    chosen = max(range(len(judged)), key=judged.__getitem__)
    return Generation(
        audio=_decoded(codec, codes[chosen], samples),
        codes=codes[chosen],
        seed=request.seed,
        chosen=chosen,
        scores=tuple(judged),
    )
