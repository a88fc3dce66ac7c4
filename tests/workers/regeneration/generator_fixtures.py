"""A tiny generator with random weights, and a codec-shaped stand for the interface alone."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from workers.regeneration.batch import sampled
from workers.regeneration.codecs import Codec
from workers.regeneration.conditioning import FEATURES, ContextConfig
from workers.regeneration.decoder.decoder import Decoder
from workers.regeneration.guidance import Sampling
from workers.regeneration.model import Condition, ConditionedMusicgen, GeneratorConfig, Window
from workers.regeneration.sampling import of_window

STYLES = ("rock", "ballad")


def tiny_config(**changes: Any) -> GeneratorConfig:
    """Small enough for a test: two layers of 32, windows of 1 s."""
    sizes: dict[str, Any] = {
        "part": "drums",
        "codec": "tiny",
        "styles": STYLES,
        "codebooks": 3,
        "codebook_size": 16,
        "width": 32,
        "layers": 2,
        "heads": 2,
        "feed_forward": 64,
        "window": 50,
        "margin": 10,
        "overlap": 20,
        "chroma_hop": 10,
        "context": ContextConfig(width=24, blocks=1, heads=2),
        "controls": ("density", "fills", "swing"),
    }
    return GeneratorConfig(**{**sizes, **changes})


def tiny_generator(seed: int = 0, additive: float = 0.5, **changes: Any) -> ConditionedMusicgen:
    """Random weights, W included: the context matters unless ``additive`` is 0."""
    torch.manual_seed(seed)
    model = ConditionedMusicgen(tiny_config(**changes))
    for table in model.decoder.model.decoder.embed_tokens:
        torch.nn.init.normal_(table.weight, std=0.5)
    for weight in model.decoder.model.decoder.layers.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.2)
    for head in model.decoder.lm_heads:
        torch.nn.init.normal_(head.weight, std=0.3)
    torch.nn.init.normal_(model.style.weight, std=1.0)
    for control in model.controls.parameters():
        torch.nn.init.normal_(control, std=1.0)
    torch.nn.init.normal_(model.additive.weight, std=additive)
    return model.eval().requires_grad_(False)


def sample_window(
    model: ConditionedMusicgen,
    window: Window,
    sampling: Sampling,
    generators: list[torch.Generator],
    before_step: Callable[[int], None] = lambda frames: None,
) -> Tensor:
    """The codes of a window that has a decoder for itself, int64 [B, K, F]."""
    sequence = of_window(model, window, sampling, generators, before_step)
    return sampled(Decoder(model.decoder, sequence.rows), sequence)


def stepwise(model: ConditionedMusicgen, condition: Condition, columns: Tensor) -> list[Tensor]:
    """Logits [B, K, V] after each column of [B, K, S], read one by one behind the prefix."""
    rows, _, size = columns.shape
    decoder = Decoder(model.decoder, rows)
    cache = decoder.cache(condition.prefix.shape[1] + size)
    block = cache.take(rows)
    embedded = decoder.embed(columns.transpose(1, 2))
    added = condition.additive[:, :size]
    embedded[:, : added.shape[1]] += added
    states = [decoder.read(cache, block, torch.cat([condition.prefix, embedded[:, :1]], dim=1))]
    states += [decoder.step(cache, [block], embedded[:, s]) for s in range(1, size)]
    return [
        model.with_intervals(
            decoder.logits(state)[:, :, None], state[:, None], condition.roots, column
        )[:, :, 0]
        for column, state in enumerate(states)
    ]


def window_of(model: ConditionedMusicgen, batch: int, frames: int, seed: int = 1) -> Window:
    """A random window of which every third frame is kept."""
    config = model.config
    generator = torch.Generator().manual_seed(seed)
    padded = frames + 2 * config.margin
    codes = torch.randint(
        config.codebook_size, (batch, config.codebooks, frames), generator=generator
    )
    return Window(
        features=torch.randn(batch, FEATURES, padded, generator=generator),
        present=torch.ones(batch, padded),
        style=torch.arange(batch) % len(STYLES),
        controls=torch.tensor([[0, 1, 0]])[:, : len(config.controls)].expand(batch, -1),
        kept_codes=codes,
        kept_mask=(torch.arange(frames) % 3 == 0).expand(batch, -1),
    )


class ClickCodec(Codec):
    """A real, exact codec for clicks: a frame's first code is the height of its first sample."""

    margin = 0

    def __init__(self) -> None:
        super().__init__()
        self.sample_rate, self.frame_rate = 8000, 50.0
        self.codebooks, self.codebook_size = 3, 16

    def config(self) -> dict[str, object]:
        return {"codec": "clicks"}

    def _encode(self, waveform: Tensor) -> Tensor:
        heights = (waveform[:, 0, :: self.hop] * 15).round().long()
        return torch.stack([heights, *([torch.zeros_like(heights)] * 2)], dim=1)

    def _decode(self, codes: Tensor) -> Tensor:
        audio = torch.zeros(codes.shape[0], 1, codes.shape[2] * self.hop)
        audio[:, 0, :: self.hop] = codes[:, 0].float() / 15
        return audio


def clicks(seconds: float, sample_rate: int = 8000, every: float = 0.25) -> Tensor:
    """A context that clicks, float32 [1, T]."""
    generator = torch.Generator().manual_seed(3)
    length = round(seconds * sample_rate)
    audio = torch.zeros(1, length)
    burst = torch.randn(200, generator=generator) * torch.linspace(0.5, 0, 200)
    for start in torch.arange(0, length - 200, round(every * sample_rate)).tolist():
        audio[0, start : start + 200] += burst
    return audio
