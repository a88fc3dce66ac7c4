"""Stock MusicGen checkpoints, in transformers' public folder format, through our own decoder.

What ``MusicgenForConditionalGeneration`` and ``MusicgenMelodyForConditionalGeneration`` do around
their decoder is done here once for a whole sequence: text to states, states to what the decoder is
told, codes to audio. What the branch without guidance is told is what their ``generate`` tells it:
states of zeros, and for Melody a chroma that is all in its first bin. A mask hides what is padded
from cross-attention; where states are a prefix (Melody) padded ones become zeros that are read.

Only safetensors are opened. Pickled weights are refused, also where they lie beside them.
"""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from workers.regeneration.decoder.decoder import Decoder
from workers.regeneration.decoder.linear import Precision
from workers.regeneration.guidance import Sampling
from workers.regeneration.sampling import Sequence, Told
from workers.regeneration.torchaudio_stub import make_torchaudio_importable

make_torchaudio_importable()

from transformers import (  # noqa: E402
    MusicgenForConditionalGeneration,
    MusicgenMelodyForConditionalGeneration,
)

GUIDANCE = 3.0
"""Weight of what is told, as the published checkpoints' ``generation_config.json`` says."""

SAMPLING = Sampling(temperature=1.0, top_k=250)
"""How the published checkpoints are sampled; the guidance inside it is not read."""

_CLASSES: dict[str, Any] = {
    "musicgen": MusicgenForConditionalGeneration,
    "musicgen_melody": MusicgenMelodyForConditionalGeneration,
}
_SHOWN = 3


class UnsupportedCheckpoint(ValueError):
    """A folder that is no MusicGen checkpoint that can be served here; the message says why."""


@dataclass(frozen=True)
class _Told:
    """Text and chroma of B sequences, in the decoder's width."""

    text: Tensor
    mask: Tensor
    chroma: Tensor | None


class StockGenerator:
    """A stock checkpoint that is ready to generate.

    It computes where its weights are, and takes tensors from anywhere.
    Made by :func:`load_stock`. Its sequences run in a ``Batch`` over :attr:`decoder`, or alone in
    ``sampled``; one decoder serves any number of them.

    Attributes:
        decoder: the weights, laid out for serving.
        melody: whether what is told is a prefix with chroma (Melody) or is looked at.
        sample_rate: Hz, of the audio.
        frame_rate: frames a second.
    """

    def __init__(self, model: Any, rows: int, precision: Precision) -> None:
        config = model.config
        self.melody = config.model_type == "musicgen_melody"
        self.decoder = Decoder(model.decoder, rows, precision)
        self.sample_rate = int(config.audio_encoder.sampling_rate)
        self.frame_rate = float(config.audio_encoder.frame_rate)
        self._padding = int(config.decoder.pad_token_id)
        self._text_encoder: Any = model.text_encoder
        self._audio_encoder: Any = model.audio_encoder
        self._text: nn.Linear | None = getattr(model, "enc_to_dec_proj", None)
        self._chroma: nn.Linear | None = getattr(model, "audio_enc_to_dec_proj", None)
        self._text_width = int(config.text_encoder.hidden_size)
        self._chroma_bins = int(config.num_chroma) if self.melody else 0
        self._chroma_length = int(config.chroma_length) if self.melody else 0

    @torch.inference_mode()
    def text_states(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """The text encoder's states.

        Args:
            tokens: int64 [B, S], ids of the checkpoint's own tokenizer.
            mask: [B, S], 1 where a token counts; all do without one.

        Returns:
            float32 [B, S, text width].
        """
        tokens = tokens.to(self.decoder.device)
        mask = torch.ones_like(tokens) if mask is None else mask.to(tokens.device)
        states: Tensor = self._text_encoder(input_ids=tokens, attention_mask=mask).last_hidden_state
        return states

    @torch.inference_mode()
    def sequence(
        self,
        frames: int,
        generators: Iterable[torch.Generator],
        *,
        tokens: Tensor | None = None,
        states: Tensor | None = None,
        mask: Tensor | None = None,
        chroma: Tensor | None = None,
        guidance: float = GUIDANCE,
        sampling: Sampling = SAMPLING,
        before_step: Callable[[int], None] = lambda frames: None,
    ) -> Sequence:
        """What is generated for B texts, none of it kept from anywhere.

        Args:
            frames: to generate.
            generators: B of them.
            tokens: int64 [B, S]; or
            states: [B, S, text width] of :meth:`text_states`, where they are at hand.
            mask: [B, S], 1 where a token counts; all do without one.
            chroma: [B, T, chroma bins], Melody alone: repeated or cut to the checkpoint's own
                length. Without one it is what Melody is told of no melody.
            guidance: of what is told; 1 and less take the rows of one branch, more those of two.
            sampling: how codes are drawn; its guidance is not read.
            before_step: as of a ``Sequence``.

        Raises:
            ValueError: shapes that do not fit, by name; or more frames than there are positions.
        """
        if (tokens is None) == (states is None):
            raise ValueError("a sequence needs either tokens or states")
        if states is None:
            assert tokens is not None
            _fits("tokens", tokens, (None, None))
            states = self.text_states(tokens, mask)
        told = self._told(states, mask, chroma)
        both = guidance > 1.0
        if both:
            told = self._with_nothing(told)
        prefix = self._prefix(told)
        positions = prefix.shape[1] + frames + self.decoder.codebooks - 1
        if frames < 1 or positions > self.decoder.positions:
            raise ValueError(
                f"{frames} frames take {positions} positions, the checkpoint has"
                f" {self.decoder.positions}"
            )
        candidates = len(states)
        shape = (candidates, self.decoder.codebooks, frames)
        device = self.decoder.device
        return Sequence(
            torch.full(shape, self._padding, dtype=torch.int64, device=device),
            torch.zeros(candidates, frames, dtype=torch.bool, device=device),
            self._padding,
            self.decoder.codebook_size,
            Told(prefix) if self.melody else Told(prefix, None, told.text, told.mask),
            torch.tensor([guidance, 1.0 - guidance] if both else [1.0], device=device),
            sampling,
            generators,
            before_step=before_step,
        )

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes int64 [B, K, F] through the checkpoint's EnCodec, float32 [B, 1, T]."""
        _fits("codes", codes, (None, self.decoder.codebooks, None))
        scales, codes = [None] * len(codes), codes.to(self.decoder.device)
        audio: Tensor = self._audio_encoder.decode(codes[None], audio_scales=scales).audio_values
        return audio.float()

    def _told(self, states: Tensor, mask: Tensor | None, chroma: Tensor | None) -> _Told:
        _fits("states", states, (None, None, self._text_width))
        device = self.decoder.device
        states = states.to(device)
        mask = torch.ones(states.shape[:2], device=device) if mask is None else mask.to(device)
        _fits("mask", mask, tuple(states.shape[:2]))
        if not self.melody and bool((mask == 0).all(dim=1).any()):
            raise ValueError("mask: a text of which nothing counts cannot be looked at")
        text = states if self._text is None else self._text(states)
        text = text * mask[..., None].to(text.dtype)
        if not self.melody:
            if chroma is not None:
                raise ValueError("chroma: this checkpoint hears no melody")
            return _Told(text, mask.bool(), None)
        if chroma is None:
            chroma = self._no_melody(len(states), 1)
        _fits("chroma", chroma, (len(states), None, self._chroma_bins))
        return _Told(text, mask.bool(), chroma.to(device))

    def _with_nothing(self, told: _Told) -> _Told:
        chroma = told.chroma
        if chroma is not None:
            chroma = torch.cat([chroma, self._no_melody(*chroma.shape[:2])])
        # Keys and values of zeros have no bias: looking at them adds nothing, as a mask would.
        return _Told(
            torch.cat([told.text, torch.zeros_like(told.text)]),
            torch.cat([told.mask, torch.ones_like(told.mask)]),
            chroma,
        )

    def _no_melody(self, rows: int, length: int) -> Tensor:
        chroma = torch.zeros(rows, length, self._chroma_bins, device=self.decoder.device)
        chroma[:, :, 0] = 1.0
        return chroma

    def _prefix(self, told: _Told) -> Tensor:
        if told.chroma is None:
            return told.text[:, :0]
        chroma = told.chroma if self._chroma is None else self._chroma(told.chroma)
        if chroma.shape[1] < self._chroma_length:
            chroma = chroma.repeat(1, math.ceil(self._chroma_length / chroma.shape[1]), 1)
        return torch.cat([chroma[:, : self._chroma_length], told.text], dim=1)


def _fits(name: str, given: Tensor, shape: tuple[int | None, ...]) -> None:
    """Raises ``ValueError`` with the tensor's name; ``None`` stands for any size from 1 on."""
    fits = given.ndim == len(shape) and all(
        size == wanted if wanted is not None else size > 0
        for size, wanted in zip(given.shape, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name}: [{', '.join(map(str, given.shape))}] given, [{wanted}] needed")


def load_stock(
    folder: Path, rows: int, precision: Precision = "float32", device: str = "cpu"
) -> StockGenerator:
    """Open a checkpoint folder: ``config.json`` and one or more ``*.safetensors``.

    Args:
        folder: as ``save_pretrained`` writes it, and as the public checkpoints are published.
            Nothing is fetched from anywhere. Whoever calls has verified the files' hashes.
        rows: the most that will share a step; a text takes two with guidance.
        precision: of the decoder. Text encoder and codec compute in float32.
        device: where it computes.

    Raises:
        UnsupportedCheckpoint: not MusicGen, stereo, pickled weights, or tensors that are missing,
            superfluous or of another shape than the config says: the message names them.
        UnsupportedDecoder: a decoder that uses what is not served.
    """
    described = folder / "config.json"
    if not described.is_file():
        raise UnsupportedCheckpoint(f"{folder.name} holds no config.json")
    config = json.loads(described.read_text())
    made_of = _CLASSES.get(config.get("model_type", ""))
    if made_of is None:
        raise UnsupportedCheckpoint(
            f"model_type {config.get('model_type')!r} is none of {', '.join(_CLASSES)}"
        )
    sizes = config.get("decoder", {})
    if sizes.get("audio_channels", 1) != 1:
        raise UnsupportedCheckpoint("stereo checkpoints are not served: audio_channels must be 1")
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UnsupportedCheckpoint(f"{folder.name} holds no *.safetensors; pickles are not opened")
    model, found = made_of.from_pretrained(
        folder,
        use_safetensors=True,
        local_files_only=True,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        dtype=torch.float32,
    )
    # transformers lets every name with "decoder" in it pass, for the text encoder's sake.
    unread = {
        name
        for file in files
        for name in _names(file)
        if name.startswith("decoder.") and name not in model.state_dict()
    }
    _refuse_what_does_not_fit({**found, "unexpected_keys": {*found["unexpected_keys"], *unread}})
    decoder = model.config.decoder
    if decoder.pad_token_id != decoder.vocab_size:
        raise UnsupportedCheckpoint(
            f"decoder.pad_token_id is {decoder.pad_token_id}, one past the {decoder.vocab_size}"
            " codes is served alone"
        )
    model = model.eval().requires_grad_(False).to(device)
    return StockGenerator(model, rows, precision)


def _names(file: Path) -> list[str]:
    with safe_open(file, framework="pt") as opened:
        return list(opened.keys())


def _refuse_what_does_not_fit(found: dict[str, Any]) -> None:
    wrong = [
        f"{name} is {list(saved)}, the config says {list(wanted)}"
        for name, saved, wanted in sorted(found["mismatched_keys"])
    ]
    wrong += [f"{name} is missing" for name in sorted(found["missing_keys"])]
    # Older files carry the table of positions, which is computed.
    wrong += [
        f"{name} is not in the model"
        for name in sorted(found["unexpected_keys"])
        if not name.endswith("embed_positions.weights")
    ]
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise UnsupportedCheckpoint("; ".join(wrong[:_SHOWN]) + more)
