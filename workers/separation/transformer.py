"""HTDemucs' transformer for a CPU: the same arithmetic, attention without its matrix of weights.

In inference PyTorch computes `nn.MultiheadAttention` of one tensor with itself by writing the
softmax of all pairs down (0.2 GB for a segment of htdemucs), at half the speed of the fused kernel
that it uses for two different tensors. Here every attention takes the fused one. Positions are
computed once for a length, and tokens stay in one layout.
"""

from functools import lru_cache
from typing import Any

import torch
from demucs.transformer import create_2d_sin_embedding, create_sin_embedding
from torch import Tensor, nn
from torch.nn import functional as F


def can_transform(whole: Any) -> bool:
    """Whether a `CrossTransformerEncoder` is of the kind that is computed here: htdemucs' own."""
    return (
        whole.emb == "sin"
        and whole.sin_random_shift == 0
        and isinstance(whole.norm_in, nn.LayerNorm)
        and all(
            layer.norm_first and not layer.sparse and isinstance(layer.norm1, nn.LayerNorm)
            for layer in (*whole.layers, *whole.layers_t)
        )
    )


class QuickTransformer(nn.Module):
    """A `CrossTransformerEncoder` on one segment."""

    def __init__(self, whole: Any) -> None:
        super().__init__()
        self.whole = whole
        self.layers = nn.ModuleList(_Layer(layer) for layer in whole.layers)
        self.layers_t = nn.ModuleList(_Layer(layer) for layer in whole.layers_t)

    def forward(self, x: Tensor, xt: Tensor) -> tuple[Tensor, Tensor]:
        """The spectrogram's branch [C, F, T] and the time branch's [C, time], transformed."""
        whole: Any = self.whole
        channels, rows, frames = x.shape
        positions, positions_t = _positions(channels, rows, frames, xt.shape[1], whole.max_period)
        scale = whole.weight_pos_embed
        # Tokens [N, C], of the spectrogram frame by frame.
        tokens = whole.norm_in(x.permute(2, 1, 0).reshape(-1, channels))
        tokens.add_(positions, alpha=scale)
        tokens_t = whole.norm_in_t(xt.T.contiguous()).add_(positions_t, alpha=scale)
        for index, (layer, layer_t) in enumerate(zip(self.layers, self.layers_t, strict=True)):
            if index % 2 == whole.classic_parity:
                tokens, tokens_t = layer(tokens), layer_t(tokens_t)
            else:
                tokens, tokens_t = layer(tokens, tokens_t), layer_t(tokens_t, tokens)
        x = tokens.view(frames, rows, channels).permute(2, 1, 0).contiguous()
        return x, tokens_t.T.contiguous()


class _Layer(nn.Module):
    """A layer of either kind: of tokens with themselves, or with those of the other branch."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer: Any = layer
        self.crosses = hasattr(layer, "cross_attn")
        self.attention: Any = layer.cross_attn if self.crosses else layer.self_attn
        self.norm: Any = layer.norm3 if self.crosses else layer.norm2

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Tokens [N, C] of [N, C], and of [M, C] where the layer crosses."""
        layer = self.layer
        query = layer.norm1(x)
        key = query if other is None else layer.norm2(other)
        x = x + layer.gamma_1(self._attended(query, key))
        hidden = layer.activation(layer.linear1(self.norm(x)))
        x += layer.gamma_2(layer.linear2(hidden))
        return x if layer.norm_out is None else _normalised(layer.norm_out, x)

    def _attended(self, query: Tensor, key: Tensor) -> Tensor:
        attention = self.attention
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        width = query.shape[1]
        if query is key:
            parts = F.linear(query, weight, bias).split(width, dim=1)
        else:
            parts = (
                F.linear(query, weight[:width], bias[:width]),
                *F.linear(key, weight[width:], bias[width:]).split(width, dim=1),
            )
        q, k, v = (
            part.unflatten(1, (attention.num_heads, -1)).transpose(0, 1)[None] for part in parts
        )
        given = F.scaled_dot_product_attention(q, k, v)[0].transpose(0, 1).flatten(1)
        attended: Tensor = attention.out_proj(given)
        return attended


def _normalised(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    """A group norm over tokens [N, C]."""
    if norm.num_groups != 1:
        return F.group_norm(x.T[None], norm.num_groups, norm.weight, norm.bias, norm.eps)[0].T
    variance, mean = torch.var_mean(x, correction=0)
    factor = (variance + norm.eps).rsqrt() * norm.weight
    return torch.addcmul(norm.bias - mean * factor, x, factor)


@lru_cache(maxsize=4)
def _positions(
    channels: int, rows: int, frames: int, length: int, period: float
) -> tuple[Tensor, Tensor]:
    """Of the spectrogram's tokens [frames * rows, C], and of the time branch's [length, C]."""
    with torch.inference_mode(False):
        of_both = create_2d_sin_embedding(channels, rows, frames, max_period=period)[0]
        of_time = create_sin_embedding(length, channels, max_period=period)[:, 0]
        return of_both.permute(2, 1, 0).reshape(-1, channels).contiguous(), of_time
