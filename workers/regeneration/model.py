"""The generator: a stock MusicGen Melody decoder that also hears the stems that stay.

transformers' decoder class is used as it is. What this module adds enters by its two public doors:

* ``encoder_hidden_states``, the prefix: one style embedding, standing where T5's text states would
  (a learned table over the style names of the checkpoint's card, because no text encoder is
  bundled), one embedding for each control (see ``controls.py``), then slow chroma through a
  projection;
* ``inputs_embeds``: ``sum_k E_k(code) + W c``, with c from the context encoder, aligned so that the
  context of a frame is added at the step that predicts the frame's first codebook.

W starts at zero: a fine-tune of public weights begins exactly at their behaviour.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.regeneration.conditioning import (
    CHROMA_BINS,
    ContextConfig,
    ContextEncoder,
    chroma_prefix,
)
from workers.regeneration.controls import untold, values_of
from workers.regeneration.guidance import Sampling
from workers.regeneration.harmony import Intervals
from workers.regeneration.torchaudio_stub import make_torchaudio_importable

make_torchaudio_importable()

from transformers import MusicgenMelodyForCausalLM  # noqa: E402
from transformers.models.musicgen_melody.configuration_musicgen_melody import (  # noqa: E402
    MusicgenMelodyDecoderConfig,
)


@dataclass(frozen=True)
class GeneratorConfig:
    """All that ``config.json`` says of a generator.

    ``part`` is the stem it makes; ``codec`` the checkpoint name of the codec whose codes it speaks;
    ``window`` frames are generated in one go and ``margin`` frames of context are seen beyond both
    ends; ``chroma_hop`` frames are one position of the prefix; ``controls`` are the names of what
    it can be told beside the style; ``sampling`` is how it is sampled unless a request says how;
    ``told_throughout``: style and controls are added to every frame too, where a small decoder
    cannot overhear them as it does a prefix; ``pitch_grid`` is the lowest MIDI note of the first
    codebook and its number of quarter tones (code 1 is the lowest): with it, and where the context
    encoder hears roots, a pitch is chosen as an interval over the root.
    """

    part: str
    codec: str
    styles: tuple[str, ...]
    codebooks: int
    codebook_size: int
    width: int = 192
    layers: int = 4
    heads: int = 4
    feed_forward: int = 768
    window: int = 500
    margin: int = 50
    overlap: int = 100
    chroma_hop: int = 25
    context: ContextConfig = field(default_factory=ContextConfig)
    controls: tuple[str, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)
    told_throughout: bool = False
    pitch_grid: tuple[float, int] | None = None

    def __post_init__(self) -> None:
        if len(set(self.styles)) != len(self.styles) or not self.styles:
            raise ValueError("a generator needs a list of different styles")
        if not 0 < self.overlap < self.window:
            raise ValueError(f"overlap {self.overlap} must lie inside the window {self.window}")
        if len(set(self.controls)) != len(self.controls):
            raise ValueError(f"controls are named twice: {', '.join(self.controls)}")
        for name in self.controls:
            values_of(name)

    @property
    def untold(self) -> tuple[int, ...]:
        """The row of "not told" of every control."""
        return tuple(untold(name) for name in self.controls)

    @property
    def padding(self) -> int:
        """The code of cells that belong to no frame: one past the codebook."""
        return self.codebook_size

    @property
    def chroma_positions(self) -> int:
        """Positions of chroma in the prefix."""
        return -(-self.window // self.chroma_hop)

    @property
    def prefix_length(self) -> int:
        """Positions before the first code: style, controls and chroma."""
        return 1 + len(self.controls) + self.chroma_positions

    def decoder_config(self) -> MusicgenMelodyDecoderConfig:
        """The same as transformers states it."""
        return MusicgenMelodyDecoderConfig(
            vocab_size=self.codebook_size,
            max_position_embeddings=self.prefix_length + self.window + self.codebooks,
            num_hidden_layers=self.layers,
            ffn_dim=self.feed_forward,
            num_attention_heads=self.heads,
            hidden_size=self.width,
            dropout=0.0,
            num_codebooks=self.codebooks,
            pad_token_id=self.padding,
            bos_token_id=self.padding,
        )

    def to_dict(self) -> dict[str, Any]:
        """As it stands in ``config.json``."""
        return {**asdict(self), "styles": list(self.styles), "controls": list(self.controls)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "GeneratorConfig":
        """Read what :meth:`to_dict` wrote; unknown or missing keys raise ``TypeError``.

        Generators that were trained before there were controls say nothing of them and have none;
        those that recommend no sampling are sampled by its defaults.
        """
        controls = tuple(data.get("controls", ()))
        values = {**data, "styles": tuple(data["styles"]), "controls": controls}
        values["sampling"] = Sampling(**data.get("sampling", {}))
        if data.get("pitch_grid") is not None:
            values["pitch_grid"] = tuple(data["pitch_grid"])
        return cls(**{**values, "context": ContextConfig(**data["context"])})


@dataclass(frozen=True)
class Window:
    """What the generator is told about one window, [B, ...] each; ``margin`` frames on both sides.

    ``features`` [B, FEATURES, margin + F + margin] and ``present`` [B, margin + F + margin] as in
    :class:`ContextEncoder`; ``style`` int64 [B], the index in the config's styles, ``len(styles)``
    for none; ``controls`` int64 [B, controls], rows as in ``controls.row_of``; ``kept_codes`` int64
    [B, K, F], read where ``kept_mask`` bool [B, F] is true.
    """

    features: Tensor
    present: Tensor
    style: Tensor
    controls: Tensor
    kept_codes: Tensor
    kept_mask: Tensor

    @property
    def frames(self) -> int:
        """Frames to generate, F."""
        return self.kept_mask.shape[-1]


class Condition(NamedTuple):
    """What the decoder is told of a window.

    ``prefix`` [B, prefix_length, width]; ``additive`` [B, F, width]; ``roots`` [B, F, 12], the
    chord roots that are heard, where the model uses them.
    """

    prefix: Tensor
    additive: Tensor
    roots: Tensor | None


class ConditionedMusicgen(nn.Module):
    """MusicGen Melody's decoder with a time-aligned additive context."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.decoder = MusicgenMelodyForCausalLM(config.decoder_config())
        self.style = nn.Embedding(len(config.styles) + 1, config.width)
        self.controls = nn.ModuleList(
            nn.Embedding(len(values_of(name)) + 1, config.width) for name in config.controls
        )
        self.chroma = nn.Linear(CHROMA_BINS, config.width)
        self.context = ContextEncoder(config.context, config.width, config.width)
        self.additive = nn.Linear(config.width, config.width, bias=False)
        nn.init.zeros_(self.additive.weight)
        self.playing = None
        if config.told_throughout:
            self.playing = nn.Linear(config.width, config.width, bias=False)
            nn.init.zeros_(self.playing.weight)
        self.intervals = None
        if config.pitch_grid is not None and config.context.roots:
            self.intervals = Intervals(config.width, config.codebook_size, *config.pitch_grid)

    def embed_codes(self, columns: Tensor) -> Tensor:
        """Sum of the codebooks' embeddings, int64 [B, K, S] -> [B, S, width]."""
        tables = self.decoder.model.decoder.embed_tokens
        return torch.stack([table(columns[:, k]) for k, table in enumerate(tables)]).sum(dim=0)

    def condition(self, window: Window) -> Condition:
        """What the decoder is told of a window."""
        margin = self.config.margin
        # Padding codes in unkept cells keep what is not kept out of the sum.
        codes = torch.where(window.kept_mask[:, None], window.kept_codes, self.config.padding)
        first, which = _alike(window, codes)
        features, present = window.features[first], window.present[first]
        mask = window.kept_mask[first].to(features.dtype)
        kept = self.embed_codes(codes[first]) * mask[..., None]
        roots = self.context.heard_roots(features, present)
        inside = slice(margin, margin + window.frames)
        c = self.context(
            features,
            present,
            functional.pad(kept, (0, 0, margin, margin)),
            functional.pad(mask, (margin, margin)),
            roots,
        )[which, inside]
        heard = window.features[:, :, inside] * window.present[:, None, inside]
        chroma = chroma_prefix(heard, self.config.chroma_hop, self.config.chroma_positions)
        told = [self.style(window.style)[:, None]]
        told += [table(window.controls[:, i])[:, None] for i, table in enumerate(self.controls)]
        prefix = torch.cat([*told, self.chroma(chroma)], dim=1)
        additive = self.additive(c)
        if self.playing is not None:
            additive = additive + self.playing(torch.cat(told, dim=1).sum(dim=1, keepdim=True))
        return Condition(prefix, additive, None if roots is None else roots[which, inside])

    def inputs(self, columns: Tensor, additive: Tensor, start: int = 0) -> Tensor:
        """Embeddings of the columns ``start...``, int64 [B, K, S], with the context added.

        ``additive`` [B, F, width] is that of the whole window: column s predicts frame s of the
        first codebook. The last K - 1 columns predict no new frame and get none.
        """
        embedded = self.embed_codes(columns)
        added = additive[:, start : start + embedded.shape[1]]
        return embedded + functional.pad(added, (0, 0, 0, embedded.shape[1] - added.shape[1]))

    def logits(self, hidden: Tensor, roots: Tensor | None, start: int = 0) -> Tensor:
        """Logits of the next column, [B, K, S, codebook_size], from states [B, S, width].

        ``roots`` is that of the whole window's condition, ``start`` the first state's column.
        """
        scores = torch.stack([head(hidden) for head in self.decoder.lm_heads], dim=1)
        return self.with_intervals(scores, hidden, roots, start)

    def with_intervals(
        self, scores: Tensor, hidden: Tensor, roots: Tensor | None, start: int = 0
    ) -> Tensor:
        """The heads' scores [B, K, S, V] with what the chord's root says of the pitch added."""
        if self.intervals is None or roots is None:
            return scores
        heard = roots[:, start : start + hidden.shape[1]]
        heard = functional.pad(heard, (0, 0, 0, hidden.shape[1] - heard.shape[1]))
        pitches = scores[:, 0] + self.intervals(hidden, heard)
        return torch.cat([pitches[:, None], scores[:, 1:]], dim=1)

    def forward(
        self, columns: Tensor, prefix: Tensor, additive: Tensor, roots: Tensor | None = None
    ) -> Tensor:
        """Logits of the next column at every column, [B, K, S, codebook_size].

        Args:
            columns: int64 [B, K, S] in the delay pattern, starting at column 0.
            prefix, additive, roots: the window's condition.
        """
        output = self.decoder.model(
            inputs_embeds=self.inputs(columns, additive),
            encoder_hidden_states=prefix,
            use_cache=False,
        )
        return self.logits(output.last_hidden_state[:, prefix.shape[1] :], roots)


def _alike(window: Window, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Rows that hear the same once, and of every row which of those it is, int64 both.

    Candidates that keep the same frames do, and so do branches of the guidance that differ in what
    is told alone: of eight candidates' 24 rows two are left.
    """
    rows = len(codes)
    every = torch.arange(rows, device=codes.device)
    if rows == 1 or not bool((window.features == window.features[:1]).all()):
        return every, every
    kept = torch.cat([codes.flatten(1), window.kept_mask], dim=1)
    # Codes are whole numbers, which a coarser type would take for each other.
    heard = torch.cat([window.present.float(), kept.float()], dim=1)
    kinds, which = heard.unique(dim=0, return_inverse=True)
    first = every.new_full((len(kinds),), rows).scatter_reduce(0, which, every, "amin")
    return first, which


def load_generator(config: dict[str, Any], state: dict[str, Tensor]) -> ConditionedMusicgen:
    """A generator from the contents of ``config.json`` and ``model.safetensors`` (fp16 allowed).

    The config is that of a :class:`GeneratorConfig`; its key "training" says how the weights were
    made and is not read.

    Returns:
        The model in evaluation mode, float32.

    Raises:
        KeyError, TypeError, ValueError: the config is not one of ours.
        RuntimeError: names or shapes of the weights do not fit it.
    """
    sizes = {key: value for key, value in config.items() if key != "training"}
    model = ConditionedMusicgen(GeneratorConfig.from_dict(sizes))
    model.load_state_dict({name: weight.float() for name, weight in state.items()})
    return model.eval().requires_grad_(False)
