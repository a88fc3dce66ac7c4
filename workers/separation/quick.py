"""A Demucs model's forward pass for a CPU: the same weights and results, less memory traffic."""

from typing import Any

import torch
from demucs.hdemucs import HDemucs, HEncLayer
from demucs.htdemucs import HTDemucs
from torch import Tensor, nn
from torch.nn import functional as F

from workers.separation.spectra import can_synthesise, synthesise
from workers.separation.tiles import TiledDecoder, TiledEncoder, can_tile
from workers.separation.transformer import QuickTransformer, can_transform

Model = HDemucs | HTDemucs

WORTH = 1 << 20
"""Bytes of the first layer's output from which tiles pay: what is smaller stays in a cache."""


def pays(model: Any, segment: float) -> bool:
    """Whether `Quick` knows all of the model, and its segments of `segment` s are large enough."""
    frames = segment * model.samplerate / model.hop_length
    activation: float = 4 * model.channels * (model.nfft // 2 // model.stride) * frames
    merges: bool = not getattr(model, "hybrid", False) or model.tdecoder[0].empty
    return (
        activation >= WORTH
        and merges
        and can_synthesise(model)
        and all(can_tile(layer) for layer in (model.encoder[0], model.decoder[-1]))
    )


class Quick(nn.Module):
    """A Demucs on the CPU, in tiles that fit its cache where the layers allow it.

    An item's result does not depend on what else is in its batch: items run one after the other.
    """

    model: Any
    embedding: Tensor | None

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model
        self.encoder: Any = _tiled(model.encoder)
        self.decoder = _tiled(model.decoder)
        self.hybrid = bool(getattr(model, "hybrid", True))
        self.tencoder = _tiled(model.tencoder) if self.hybrid else nn.ModuleList()
        self.tdecoder = _tiled(model.tdecoder) if self.hybrid else nn.ModuleList()
        transformer = getattr(model, "crosstransformer", None)
        self.transformer = (
            QuickTransformer(transformer)
            if transformer is not None and can_transform(transformer)
            else None
        )
        embedding = None
        if model.freq_emb is not None:
            embedding = (model.freq_emb.weight * model.freq_emb_scale).T.contiguous()
        self.register_buffer("embedding", embedding)

    def forward(self, mix: Tensor) -> Tensor:
        """Stems float32 [B, S, C, T] of mixtures float32 [B, C, T]."""
        return torch.stack([self._separated(item) for item in mix])

    def _separated(self, mix: Tensor) -> Tensor:
        model, given = self.model, mix.shape[-1]
        if getattr(model, "use_train_segment", False):
            trained = int(model.segment * model.samplerate)
            mix = F.pad(mix, (0, max(0, trained - given)))
        length = mix.shape[-1]
        z = model._spec(mix[None])
        # Magnitudes, or complex parts as channels.
        magnitude = model._magnitude(z)[0]
        mean, std = magnitude.mean(), magnitude.std()
        x = (magnitude - mean).div_(1e-5 + std).contiguous()
        xt = None
        if self.hybrid:
            mean_t, std_t = mix.mean(), mix.std()
            xt = (mix - mean_t) / (1e-5 + std_t)
        x, xt = self._network(x, xt)
        out = synthesise(model, z[0], magnitude, x, mean, std, length)
        if xt is not None:
            out += xt.view_as(out).mul_(std_t).add_(mean_t)
        return out[..., :given]

    def _network(self, x: Tensor, xt: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The U-net on the normalised spectrogram [C, F, T] and waveform [C, time]."""
        saved: list[Tensor] = []
        saved_t: list[Tensor] = []
        lengths: list[int] = []
        lengths_t: list[int] = []
        for index, layer in enumerate(self.encoder):
            lengths.append(x.shape[-1])
            inject = None
            if xt is not None and index < len(self.tencoder):
                lengths_t.append(xt.shape[-1])
                xt = _encode(self.tencoder[index], xt)
                if getattr(self.tencoder[index], "empty", False):
                    inject = xt
                else:
                    saved_t.append(xt)
            x = _encode(layer, x, inject, self.embedding if index == 0 else None)
            saved.append(x)
        deepest: Tensor | None = None  # an HDemucs has nothing but skips at its bottom
        if isinstance(self.model, HTDemucs) and xt is not None:
            deepest, xt = self._transformed(x, xt)
        first = len(self.decoder) - len(self.tdecoder)
        for index, layer in enumerate(self.decoder):
            deepest, before = _decode(layer, deepest, saved.pop(), lengths.pop())
            if index >= first:
                time_layer, length = self.tdecoder[index - first], lengths_t.pop()
                if before is not None and getattr(time_layer, "empty", False):
                    xt = time_layer(before[:, :, 0], None, length)[0][0]
                else:
                    xt, _ = _decode(time_layer, xt, saved_t.pop(), length)
        assert deepest is not None
        return deepest, xt

    def _transformed(self, x: Tensor, xt: Tensor) -> tuple[Tensor, Tensor]:
        model = self.model
        if model.crosstransformer is None:
            return x, xt
        shape = x.shape[1:]
        if model.bottom_channels:
            x = model.channel_upsampler(x.flatten(1)[None])[0].unflatten(1, shape)
            xt = model.channel_upsampler_t(xt[None])[0]
        if self.transformer is not None:
            x, xt = self.transformer(x, xt)
        else:
            x, xt = (each[0] for each in model.crosstransformer(x[None], xt[None]))
        if model.bottom_channels:
            x = model.channel_downsampler(x.flatten(1)[None])[0].unflatten(1, shape)
            xt = model.channel_downsampler_t(xt[None])[0]
        return x.contiguous(), xt.contiguous()


def _tiled(layers: Any) -> nn.ModuleList:
    """The layers, those in tiles that can be."""
    return nn.ModuleList(
        layer
        if not can_tile(layer)
        else TiledEncoder(layer)
        if isinstance(layer, HEncLayer)
        else TiledDecoder(layer)
        for layer in layers
    )


def _encode(
    layer: Any, x: Tensor, inject: Tensor | None = None, embedding: Tensor | None = None
) -> Tensor:
    if not isinstance(layer, TiledEncoder):
        encoded: Tensor = layer(x[None], None if inject is None else inject[None])[0]
        return encoded if embedding is None else encoded + embedding[:, :, None]
    tiled: Tensor = layer(x if layer.freq or x.dim() == 2 else x.flatten(0, 1), embedding)
    return tiled


def _decode(
    layer: Any, x: Tensor | None, skip: Tensor, length: int
) -> tuple[Tensor, Tensor | None]:
    """The layer's output, and what a layer of demucs' own gives before its last convolution."""
    if not isinstance(layer, TiledDecoder):
        x = torch.zeros_like(skip) if x is None else x
        if layer.freq and x.dim() == 2:
            x = x.view(layer.chin, -1, x.shape[-1])
        out, before = layer(x[None], skip[None], length)
        return out[0], before
    if x is not None and x.dim() != skip.dim():
        x = x.view(skip.shape)
    return layer(x, skip, length), None
