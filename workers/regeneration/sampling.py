"""One window of the generator, sampled step by step.

The rows of a batch are guidance branches times sequences. Keys and values live in buffers that are
allocated once per window and written in place: transformers' growing cache copies all of itself at
every step, its static one makes every step attend over the whole length.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from workers.regeneration.delay import delay, undelay
from workers.regeneration.guidance import Sampling
from workers.regeneration.model import Condition, ConditionedMusicgen, GeneratorConfig, Window


class NonFiniteLogits(ArithmeticError):
    """The model's logits were not finite: the weights or the context are broken."""


class _FilledLayer(CacheLayerMixin):
    """Keys and values of one layer: room for ``length``, views of what is filled."""

    is_sliding = False
    is_compileable = False
    keys: Tensor
    values: Tensor

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length
        self.filled = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        batch, heads, _, depth = key_states.shape
        self.keys = key_states.new_empty(batch, heads, self.length, depth)
        self.values = value_states.new_empty(batch, heads, self.length, depth)
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.filled + key_states.shape[2]
        self.keys[:, :, self.filled : end] = key_states
        self.values[:, :, self.filled : end] = value_states
        self.filled = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.filled + query_length, 0

    def get_seq_length(self) -> int:
        return self.filled

    def get_max_length(self) -> int:
        return self.length


class Decoding:
    """The decoder's state between two steps of one window; rows are independent of each other."""

    def __init__(self, model: ConditionedMusicgen, condition: Condition) -> None:
        self.model = model
        prefix, additive, self.roots = condition
        self.prefix: Tensor | None = prefix
        self.additive = additive
        self.column = 0
        config = model.config
        length = prefix.shape[1] + additive.shape[1] + config.codebooks
        self.cache = Cache(layers=[_FilledLayer(length) for _ in range(config.layers)])

    def step(self, columns: Tensor) -> Tensor:
        """Read the next columns, int64 [B, K, S]; give the logits of the one after, [B, K, V].

        The first call also reads the prefix. Later calls read one column each (S = 1).
        """
        embedded = self.model.inputs(columns, self.additive, start=self.column)
        output = self.model.decoder.model(
            inputs_embeds=embedded,
            encoder_hidden_states=self.prefix,
            past_key_values=self.cache,
            use_cache=True,
        )
        self.prefix = None
        self.column += columns.shape[2]
        last = output.last_hidden_state[:, -1:]
        return self.model.logits(last, self.roots, self.column - 1)[:, :, 0]


def _nothing_told(window: Window, config: GeneratorConfig) -> Window:
    """The same window with neither a style nor a control."""
    return replace(
        window,
        style=torch.full_like(window.style, len(config.styles)),
        controls=torch.tensor(config.untold, dtype=torch.int64).expand_as(window.controls),
    )


def guidance_branches(
    window: Window, config: GeneratorConfig, sampling: Sampling
) -> tuple[Window, Tensor]:
    """The window once per branch that counts, and the branches' weights [branches].

    Kept frames belong to every branch: guidance is about the context, not about what is kept.
    """
    untold = _nothing_told(window, config)
    without_context = replace(untold, present=torch.zeros_like(window.present))
    w_c, w_t = sampling.guidance_context, sampling.guidance_style
    weighted = [(1.0 - w_c, without_context), (w_c - w_t, untold), (w_t, window)]
    told = bool((window.style != untold.style).any() | (window.controls != untold.controls).any())
    if not told:
        weighted = [(1.0 - w_c, without_context), (w_c, untold)]
    used = [(weight, branch) for weight, branch in weighted if weight != 0.0]
    fields = {
        name: torch.cat([getattr(branch, name) for _, branch in used])
        for name in Window.__dataclass_fields__
    }
    return Window(**fields), torch.tensor([weight for weight, _ in used])


def draw(logits: Tensor, noise: Tensor, sampling: Sampling) -> Tensor:
    """One code per row and codebook, int64 [B, K], from logits [B, K, V] and exponential noise.

    ``argmax(p / noise)`` draws from p (the exponential race), so a row's draw depends on its own
    noise [B, K, draws_of] alone, not on who shares the batch. The likeliest code meets the first
    noise: without temperature, or with a ``top_k`` of 1, it is taken whatever the noise.
    """
    if sampling.temperature == 0.0:
        return logits.argmax(dim=-1)
    kept = noise.shape[-1]
    if kept == logits.shape[-1]:
        return (torch.softmax(logits / sampling.temperature, dim=-1) / noise).argmax(dim=-1)
    likeliest, codes = logits.topk(kept, dim=-1)
    drawn = (torch.softmax(likeliest / sampling.temperature, dim=-1) / noise).argmax(dim=-1)
    return codes.gather(-1, drawn[..., None])[..., 0]


def draws_of(sampling: Sampling, codebook_size: int) -> int:
    """How many codes a draw is among."""
    return min(sampling.top_k, codebook_size) if sampling.top_k else codebook_size


@torch.inference_mode()
def sample_window(
    model: ConditionedMusicgen,
    window: Window,
    sampling: Sampling,
    generators: list[torch.Generator],
    after_step: Callable[[int], None] = lambda frames: None,
) -> Tensor:
    """Generate the frames of a window that are not kept.

    Args:
        model: in evaluation mode.
        window: B sequences.
        sampling: how.
        generators: one per sequence.
        after_step: called before every model step with the frames that are complete; what it
            raises ends the sampling.

    Returns:
        int64 [B, K, F]; kept frames are exactly ``window.kept_codes``.

    Raises:
        NonFiniteLogits: a logit was NaN or infinite.
    """
    config, frames = model.config, window.frames
    batch = window.style.shape[0]
    rows, weights = guidance_branches(window, config, sampling)
    weights = weights.to(window.features.device)
    branches = len(weights)
    shape = (frames, config.codebooks, draws_of(sampling, config.codebook_size))
    noise = torch.stack([torch.empty(shape).exponential_(generator=g) for g in generators])
    kept = window.kept_mask[:, None].expand(-1, config.codebooks, -1)
    columns = delay(torch.where(kept, window.kept_codes, config.padding), config.padding)
    # A cell is free when it belongs to a frame that is not kept; all others are forced.
    free = delay((~kept).long(), 0).bool()
    open_columns = free.any(dim=(0, 1)).nonzero().flatten().tolist()
    if not open_columns:
        return undelay(columns)
    first, last = open_columns[0], open_columns[-1]
    decoding = Decoding(model, model.condition(rows))
    codebook = torch.arange(config.codebooks)
    after_step(0)
    logits = decoding.step(columns[:, :, :first].repeat(branches, 1, 1))
    for column in range(first, last + 1):
        guided = (
            (weights[:, None] * logits.view(branches, -1)).sum(dim=0).view(batch, *logits.shape[1:])
        )
        if not bool(torch.isfinite(guided).all()):
            raise NonFiniteLogits(f"logits of column {column} are not finite")
        # Codebook k of this column belongs to frame column - 1 - k; its noise is the frame's own.
        frame = (column - 1 - codebook).clamp(0, frames - 1)
        drawn = draw(guided, noise[:, frame, codebook], sampling)
        cell = columns[:, :, column]
        columns[:, :, column] = torch.where(free[:, :, column], drawn, cell)
        if column < last:
            after_step(max(0, column - config.codebooks))
            logits = decoding.step(columns[:, :, column : column + 1].repeat(branches, 1, 1))
    after_step(frames)
    return undelay(columns)
