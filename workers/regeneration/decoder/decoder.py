"""A MusicGen decoder, one step of many rows at a time.

The arithmetic is that of transformers' ``MusicgenForCausalLM`` and ``MusicgenMelodyForCausalLM``;
what differs is where things lie: queries, keys and values come of one product, weights are laid out
once, keys and values stay where they were written, and every row has a position of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from workers.regeneration.decoder.attention import attention_of
from workers.regeneration.decoder.cache import Block, KeyValues
from workers.regeneration.decoder.linear import Precision, Product, computed_in, laid_out
from workers.regeneration.kernels.products import kernel_of
from workers.regeneration.torchaudio_stub import make_torchaudio_importable

make_torchaudio_importable()

from transformers import MusicgenForCausalLM, MusicgenMelodyForCausalLM  # noqa: E402
from transformers.models.musicgen.modeling_musicgen import MusicgenDecoderLayer  # noqa: E402
from transformers.models.musicgen_melody.modeling_musicgen_melody import (  # noqa: E402
    MusicgenMelodyDecoderLayer,
)

Stock = MusicgenForCausalLM | MusicgenMelodyForCausalLM
StockLayer = MusicgenDecoderLayer | MusicgenMelodyDecoderLayer


class UnsupportedDecoder(ValueError):
    """A decoder of the right class that uses what is not served here."""


@dataclass(frozen=True)
class _Norm:
    weight: Tensor
    bias: Tensor
    epsilon: float

    def __call__(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)


@dataclass(frozen=True)
class _Cross:
    norm: _Norm
    query: Product
    key: Tensor
    value: Tensor
    out: Product


@dataclass(frozen=True)
class _Layer:
    self_norm: _Norm
    query_key_value: Product
    out: Product
    cross: _Cross | None
    feed_norm: _Norm
    up: Product
    down: Product


class Decoder:
    """The weights of a MusicGen decoder, laid out for serving.

    Args:
        model: transformers' decoder with its heads; it is read and not kept.
        rows: the most that will share a step.
        precision: of the weights; on a GPU, of the keys and values too.
        threads: that share a step on a CPU; by default as many as torch uses here.

    Attributes:
        codebooks, codebook_size, width, heads, positions: sizes, as in the model's config.
        least_rows: how many rows every product has at least; with the seed it makes a result the
            same again. On a CPU one: a row's product knows no other.
        kernel: of the products on a CPU, which depends on the processor too; None on a GPU.

    Raises:
        UnsupportedDecoder: two channels, another activation, or a scaled embedding.
    """

    def __init__(
        self, model: Stock, rows: int, precision: Precision = "float32", threads: int | None = None
    ) -> None:
        config, inner = model.config, model.model.decoder
        if config.audio_channels != 1:
            raise UnsupportedDecoder("decoders of two channels are not served")
        if config.activation_function != "gelu" or config.scale_embedding:
            raise UnsupportedDecoder("only GELU and embeddings that are not scaled are served")
        self.device = inner.layer_norm.weight.device
        self._threads = torch.get_num_threads() if threads is None else threads
        self.precision, self.dtype = precision, computed_in(precision, self.device)
        self.codebooks, self.codebook_size = config.num_codebooks, config.vocab_size
        self.width, self.heads = config.hidden_size, config.num_attention_heads
        self.depth = self.width // self.heads
        self.rows = rows
        tables = torch.stack([table.detach() for table in inner.embed_tokens.parameters()])
        self._table = tables.flatten(0, 1).to(self.dtype)
        self._offsets = torch.arange(self.codebooks, device=self.device) * tables.shape[1]
        self._places = inner.embed_positions.weights.detach().to(self.dtype)
        self.positions = self._places.shape[0]
        self._layers = [self._layer(layer) for layer in inner.layers]
        self._final = self._norm(inner.layer_norm)
        self._heads = self._product(torch.cat(list(model.lm_heads.parameters())))
        # On a GPU every step has all of them (see graphed.py).
        self.least_rows = 1 if self.device.type == "cpu" else rows
        self.kernel = kernel_of(precision) if self.device.type == "cpu" else None

    @staticmethod
    def row_bytes(model: Stock, positions: int, precision: Precision = "float32") -> int:
        """What the keys and values of one row take."""
        config = model.config
        each = computed_in(precision, model.model.decoder.layer_norm.weight.device).itemsize
        return 2 * int(config.num_hidden_layers) * positions * int(config.hidden_size) * each

    def cache(self, positions: int) -> KeyValues:
        """Room for every row's keys and values, ``positions`` of each."""
        return KeyValues(
            len(self._layers), self.rows, self.heads, positions, self.depth, self.dtype, self.device
        )

    @property
    def layers(self) -> Sequence[_Layer]:
        """The layers' weights, for other ways to step."""
        return self._layers

    @property
    def looks(self) -> bool:
        """Whether it has cross-attention."""
        return self._layers[0].cross is not None

    @property
    def places(self) -> Tensor:
        """[positions, width], what a position adds to an embedding."""
        return self._places

    def embedded(self, codes: Tensor) -> Tensor:
        """As :meth:`embed`, int64 [M, K] -> [M, width], by two plain operations."""
        return functional.embedding(codes + self._offsets, self._table).sum(dim=1)

    def final_norm(self, x: Tensor) -> Tensor:
        """What the last layer gave [M, width] -> states [M, width]."""
        return self._final(x)

    def heads_of(self, states: Tensor) -> Tensor:
        """States [M, width] -> scores [M, K * codebook_size] in the decoder's dtype, M given."""
        return self._heads.times(states)

    def embed(self, codes: Tensor) -> Tensor:
        """Sum of the codebooks' embeddings, int64 [..., K] -> [..., width]."""
        flat = (codes + self._offsets).reshape(-1, self.codebooks)
        return functional.embedding_bag(flat, self._table, mode="sum").view(*codes.shape[:-1], -1)

    def logits(self, hidden: Tensor) -> Tensor:
        """States [M, width] of :meth:`step` -> float32 [M, K, codebook_size]."""
        scores = self._heads.times(hidden)
        return scores.view(-1, self.codebooks, self.codebook_size).float()

    def look_at(self, block: Block, states: Tensor, mask: Tensor | None = None) -> None:
        """Tell a decoder with cross-attention what a block's rows look at.

        Args:
            block: whose rows.
            states: [rows, S, width].
            mask: bool [rows, S], true where a state counts; every row needs one that does.
        """
        states = states.to(self.dtype)
        shape = (block.rows, states.shape[1], self.heads, self.depth)
        for layer in self._layers:
            if layer.cross is None:
                raise UnsupportedDecoder("this decoder has no cross-attention")
            block.cross.append(
                (
                    functional.linear(states, layer.cross.key).view(shape).transpose(1, 2),
                    functional.linear(states, layer.cross.value).view(shape).transpose(1, 2),
                )
            )
        block.cross_mask = None if mask is None else mask[:, None, None, :]

    def read(self, cache: KeyValues, block: Block, embeddings: Tensor) -> Tensor:
        """Read the next positions of one block at once.

        Args:
            cache: where the block's rows are.
            block: its ``filled`` grows by S.
            embeddings: [rows, S, width], without positions.

        Returns:
            [rows, width], the states of the last of them.
        """
        rows, size, _ = embeddings.shape
        start, end = block.filled, block.filled + size
        x = embeddings.to(self.dtype) + self._places[start:end]
        x = x.reshape(rows * size, -1)
        # Row i of the chunk sees what is there already and the chunk up to itself.
        mask = torch.ones(size, end, dtype=torch.bool, device=x.device).tril(start)
        for number, layer in enumerate(self._layers):
            q, k, v = self._split(layer, x, (rows, size))
            keys, values = cache.keys[number], cache.values[number]
            keys[block.span, :, start:end] = k.transpose(1, 2)
            values[block.span, :, start:end] = v.transpose(1, 2)
            seen = functional.scaled_dot_product_attention(
                q.transpose(1, 2),
                keys[block.span, :, :end],
                values[block.span, :, :end],
                attn_mask=mask,
            )
            layer.out.times(seen.transpose(1, 2).reshape(rows * size, -1), onto=x)
            self._after_attention(layer, number, x, [block], size)
        block.filled = end
        return self._final(x.view(rows, size, -1)[:, -1])

    def step(self, cache: KeyValues, blocks: Sequence[Block], embeddings: Tensor) -> Tensor:
        """Read one position more of several blocks, each at its own.

        Args:
            cache: where the blocks' rows are.
            blocks: each ``filled`` grows by one.
            embeddings: [M, width], the rows of all blocks in order, without positions.

        Returns:
            [M, width], the states.
        """
        attention = attention_of(cache, blocks, self._threads)
        at = [block.filled for block in blocks for _ in range(block.rows)]
        places = self._places.index_select(0, torch.tensor(at, device=self.device))
        x = embeddings.to(self.dtype) + places
        for number, layer in enumerate(self._layers):
            made = layer.query_key_value.times(layer.self_norm(x))
            seen = attention(number, made.view(-1, 3, self.heads, self.depth))
            layer.out.times(seen, onto=x)
            self._after_attention(layer, number, x, blocks, 1)
        for block in blocks:
            block.filled += 1
        return self._final(x)

    def _after_attention(
        self, layer: _Layer, number: int, x: Tensor, blocks: Sequence[Block], size: int
    ) -> None:
        """What else a layer adds to ``x``."""
        if layer.cross is not None and any(block.cross for block in blocks):
            query = layer.cross.query.times(layer.cross.norm(x))
            rows, seen = [block.rows * size for block in blocks], []
            for part, block in zip(query.split(rows), blocks, strict=True):
                keys, values = block.cross[number]
                shaped = part.view(block.rows, size, self.heads, self.depth).transpose(1, 2)
                looked = functional.scaled_dot_product_attention(
                    shaped, keys, values, attn_mask=block.cross_mask
                )
                seen.append(looked.transpose(1, 2).reshape(block.rows * size, -1))
            layer.cross.out.times(torch.cat(seen), onto=x)
        layer.down.times(layer.up.times(layer.feed_norm(x)), onto=x)

    def _split(
        self, layer: _Layer, x: Tensor, shape: tuple[int, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        made = layer.query_key_value.times(layer.self_norm(x))
        q, k, v = made.view(*shape, 3, self.heads, self.depth).unbind(-3)
        return q, k, v

    def _product(self, weight: Tensor, *, gelu: bool = False) -> Product:
        return laid_out(weight, self.precision, self._threads, gelu=gelu)

    def _norm(self, norm: torch.nn.LayerNorm) -> _Norm:
        weight, bias = (t.detach().to(self.dtype) for t in (norm.weight, norm.bias))
        return _Norm(weight, bias, norm.eps)

    def _layer(self, layer: StockLayer) -> _Layer:
        own, cross = layer.self_attn, None
        if isinstance(layer, MusicgenDecoderLayer):
            other = layer.encoder_attn
            cross = _Cross(
                self._norm(layer.encoder_attn_layer_norm),
                self._product(other.q_proj.weight),
                other.k_proj.weight.detach().to(self.dtype),
                other.v_proj.weight.detach().to(self.dtype),
                self._product(other.out_proj.weight),
            )
        weights = [own.q_proj.weight, own.k_proj.weight, own.v_proj.weight]
        return _Layer(
            self._norm(layer.self_attn_layer_norm),
            self._product(torch.cat(weights)),
            self._product(own.out_proj.weight),
            cross,
            self._norm(layer.final_layer_norm),
            self._product(layer.fc1.weight, gelu=True),
            self._product(layer.fc2.weight),
        )
