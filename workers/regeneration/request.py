"""What an engine is asked for and what it gives back."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from checkpoints.limits import (
    HIGHEST_TEMPERATURE,
    LARGEST_TOP_K,
    LONGEST_S,
    MOST_GUIDANCE,
    SHORTEST_S,
)
from workers.regeneration.codecs import Codec
from workers.regeneration.conditioning import FRAME_RATE
from workers.regeneration.controls import CONTROLS, ControlValue, UnknownControl, row_of
from workers.regeneration.guidance import Sampling
from workers.regeneration.model import GeneratorConfig

MOST_CANDIDATES = 16


class InvalidGenerationRequest(ValueError):
    """A request that the model cannot meet; ``field`` names what is wrong."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


@dataclass(frozen=True)
class GenerationRequest:
    """One part to make.

    Attributes:
        context: float32 [1, T] at the codec's sample rate: the sum of the stems that stay.
        style: one of the checkpoint's styles, or ``None`` for what the context suggests.
        seed: 0 .. 2^63 - 1; the same request gives the same samples on one device and dtype.
        candidates: how many are made; the best is returned.
        sampling: guidance, temperature, top-k; ``None`` for what the checkpoint recommends.
        kept_codes: int64 [K, F] codes of the part, F = ceil(T / hop), for partial regeneration.
        kept_mask: bool [F], true on the frames of ``kept_codes`` that stay as they are.
        density: "sparse", "normal" or "busy"; ``None`` leaves it to the context and the style.
        fills: whether there are fills at the ends of sections; ``None`` as above.
        swing: whether off-beats swing; ``None`` as above.
    """

    context: Tensor
    style: str | None
    seed: int
    candidates: int = 8
    sampling: Sampling | None = None
    kept_codes: Tensor | None = None
    kept_mask: Tensor | None = None
    density: str | None = None
    fills: bool | None = None
    swing: bool | None = None

    @property
    def controls(self) -> dict[str, ControlValue]:
        """The controls that are told, by name."""
        asked = {name: getattr(self, name) for name in CONTROLS}
        return {name: value for name, value in asked.items() if value is not None}


@dataclass(frozen=True)
class Generation:
    """A part that was made.

    Attributes:
        audio: float32 [1, T] at the codec's sample rate, T that of the request's context.
        codes: int64 [K, F].
        seed: that of the request.
        chosen: which candidate it is.
        scores: the ranking's score of every candidate, higher is better.
    """

    audio: Tensor
    codes: Tensor
    seed: int
    chosen: int
    scores: tuple[float, ...]


def _check_number(name: str, value: float, low: float, high: float) -> None:
    sound = isinstance(value, int | float) and not isinstance(value, bool)
    if not sound or not math.isfinite(value) or not low <= value <= high:
        raise InvalidGenerationRequest(name, f"must lie in {low:g}..{high:g}, not {value}")


def _check_whole_number(name: str, value: int, low: int, high: int) -> None:
    # A number with a fraction, or one of another library, would fail long after the submit.
    if type(value) is not int or not low <= value <= high:
        raise InvalidGenerationRequest(
            name, f"must be a whole number in {low}..{high}, not {value!r}"
        )


def _check_context(context: Tensor, sample_rate: int) -> None:
    if context.ndim != 2 or context.shape[0] != 1 or context.dtype != torch.float32:
        raise InvalidGenerationRequest(
            "context", f"must be float32 [1, T], not {context.dtype} {list(context.shape)}"
        )
    seconds = context.shape[1] / sample_rate
    if not SHORTEST_S <= seconds <= LONGEST_S:
        raise InvalidGenerationRequest(
            "context", f"must last {SHORTEST_S:g}..{LONGEST_S:g} s, not {seconds:.2f} s"
        )
    if not bool(torch.isfinite(context).all()):
        raise InvalidGenerationRequest("context", "holds samples that are not finite")


def _check_controls(request: GenerationRequest, config: GeneratorConfig) -> None:
    for name, value in request.controls.items():
        if name not in config.controls:
            known = ", ".join(config.controls) or "none"
            raise InvalidGenerationRequest(
                name, f"is no control of this checkpoint; it has: {known}"
            )
        try:
            row_of(name, value)
        except UnknownControl as error:
            raise InvalidGenerationRequest(name, str(error)) from error


def _check_kept(request: GenerationRequest, config: GeneratorConfig, frames: int) -> None:
    codes, mask = request.kept_codes, request.kept_mask
    if (codes is None) != (mask is None):
        raise InvalidGenerationRequest("kept_codes", "needs kept_mask, and the other way round")
    if codes is None or mask is None:
        return
    if codes.shape != (config.codebooks, frames) or codes.dtype != torch.int64:
        raise InvalidGenerationRequest(
            "kept_codes",
            f"must be int64 [{config.codebooks}, {frames}], not {codes.dtype} {list(codes.shape)}",
        )
    if mask.shape != (frames,) or mask.dtype != torch.bool:
        raise InvalidGenerationRequest(
            "kept_mask", f"must be bool [{frames}], not {mask.dtype} {list(mask.shape)}"
        )
    kept = codes[:, mask]
    if kept.numel() and not 0 <= int(kept.min()) <= int(kept.max()) < config.codebook_size:
        raise InvalidGenerationRequest("kept_codes", f"must lie in 0..{config.codebook_size - 1}")


def check(request: GenerationRequest, config: GeneratorConfig, codec: Codec) -> None:
    """Refuse what cannot be met, before it costs anything.

    Raises:
        InvalidGenerationRequest: names the field.
    """
    _check_context(request.context, codec.sample_rate)
    if request.style is not None and request.style not in config.styles:
        known = ", ".join(config.styles)
        raise InvalidGenerationRequest("style", f"{request.style!r} is not one of: {known}")
    _check_controls(request, config)
    _check_whole_number("seed", request.seed, 0, 2**63 - 1)
    _check_whole_number("candidates", request.candidates, 1, MOST_CANDIDATES)
    sampling = request.sampling or config.sampling
    _check_number("guidance_context", sampling.guidance_context, 0.0, MOST_GUIDANCE)
    _check_number("guidance_style", sampling.guidance_style, 0.0, MOST_GUIDANCE)
    _check_number("temperature", sampling.temperature, 0.0, HIGHEST_TEMPERATURE)
    _check_whole_number("top_k", sampling.top_k, 0, LARGEST_TOP_K)
    _check_number("top_p", sampling.top_p, 0.0, 1.0)
    _check_kept(request, config, -(-request.context.shape[1] * FRAME_RATE // codec.sample_rate))
