"""Weights of audiocraft's language model under transformers' names, and back.

Both write the same decoder down (arXiv 2306.05284): audiocraft keeps queries, keys and values in
one matrix and calls things otherwise. Tensors are renamed, split and joined; none is computed with,
so nothing is lost either way. audiocraft itself is not needed, and its pickles are not opened: who
has a ``state_dict.bin`` loads its tensors elsewhere (``weights_only``) and hands them over.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from workers.regeneration.torchaudio_stub import make_torchaudio_importable

make_torchaudio_importable()

from transformers import MusicgenForCausalLM, MusicgenMelodyForCausalLM  # noqa: E402
from transformers.models.musicgen.configuration_musicgen import (  # noqa: E402
    MusicgenDecoderConfig,
)
from transformers.models.musicgen_melody.configuration_musicgen_melody import (  # noqa: E402
    MusicgenMelodyDecoderConfig,
)

_LAYER = r"transformer\.layers\.(\d+)\."
_TO_TRANSFORMERS: tuple[tuple[str, str], ...] = (
    (r"emb\.(\d+)\.weight", r"model.decoder.embed_tokens.\1.weight"),
    (r"linears\.(\d+)\.weight", r"lm_heads.\1.weight"),
    (r"out_norm\.(weight|bias)", r"model.decoder.layer_norm.\1"),
    (_LAYER + r"self_attn\.out_proj\.weight", r"model.decoder.layers.\1.self_attn.out_proj.weight"),
    (
        _LAYER + r"cross_attention\.out_proj\.weight",
        r"model.decoder.layers.\1.encoder_attn.out_proj.weight",
    ),
    (_LAYER + r"linear([12])\.weight", r"model.decoder.layers.\1.fc\2.weight"),
    (_LAYER + r"norm1\.(weight|bias)", r"model.decoder.layers.\1.self_attn_layer_norm.\2"),
    (
        _LAYER + r"norm_cross\.(weight|bias)",
        r"model.decoder.layers.\1.encoder_attn_layer_norm.\2",
    ),
    (_LAYER + r"norm2\.(weight|bias)", r"model.decoder.layers.\1.final_layer_norm.\2"),
)
_JOINED = re.compile(_LAYER + r"(self_attn|cross_attention)\.in_proj_weight")
_PROJECTIONS = {
    "condition_provider.conditioners.description.output_proj.": "enc_to_dec_proj.",
    "condition_provider.conditioners.self_wav.output_proj.": "audio_enc_to_dec_proj.",
}
_ATTENTION = {"self_attn": "self_attn", "cross_attention": "encoder_attn"}
_SPLIT = ("q_proj", "k_proj", "v_proj")


class NotALanguageModel(ValueError):
    """Names or shapes that are not those of a MusicGen language model; the message names them."""


def from_audiocraft(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """An ``LMModel``'s state under transformers' names.

    Args:
        state: of an ``LMModel`` without biases that was built with a custom attention
            (``custom=True`` or ``memory_efficient=True``), as all of MusicGen's are.

    Returns:
        The state of a ``MusicgenForCausalLM`` (with cross-attention) or
        ``MusicgenMelodyForCausalLM`` (without), and the projections of its conditions,
        ``enc_to_dec_proj.*`` and ``audio_enc_to_dec_proj.*``, which belong to the model around it.

    Raises:
        NotALanguageModel: a name that MusicGen has not, or a joined matrix that does not split.
    """
    made: dict[str, Tensor] = {}
    around: dict[str, Tensor] = {}
    for name, weight in state.items():
        joined = _JOINED.fullmatch(name)
        if joined:
            number, which = joined.groups()
            if weight.ndim != 2 or weight.shape[0] != 3 * weight.shape[1]:
                raise NotALanguageModel(f"{name}: {list(weight.shape)} is not three squares")
            for part, piece in zip(_SPLIT, weight.chunk(3), strict=True):
                target = f"model.decoder.layers.{number}.{_ATTENTION[which]}.{part}.weight"
                made[target] = piece.clone()
            continue
        for before, after in _PROJECTIONS.items():
            if name.startswith(before):
                around[after + name.removeprefix(before)] = weight
                break
        else:
            made[_renamed(name)] = weight
    return made, around


def _renamed(name: str) -> str:
    for pattern, target in _TO_TRANSFORMERS:
        found = re.fullmatch(pattern, name)
        if found:
            return found.expand(target)
    raise NotALanguageModel(f"{name} is not a tensor of MusicGen's language model")


def to_audiocraft(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A decoder's state (with ``model.decoder.`` and ``lm_heads.``) as an ``LMModel`` reads it.

    The inverse of :func:`from_audiocraft`.

    Raises:
        NotALanguageModel: a name that MusicGen's decoder has not.
    """
    made: dict[str, Tensor] = {}
    split: dict[str, dict[str, Tensor]] = {}
    called = {here: there for there, here in _ATTENTION.items()}
    for name, weight in state.items():
        part = re.fullmatch(
            r"model\.decoder\.layers\.(\d+)\.(self_attn|encoder_attn)\.([qkv]_proj)\.weight", name
        )
        if part:
            number, which, piece = part.groups()
            joined = f"transformer.layers.{number}.{called[which]}.in_proj_weight"
            split.setdefault(joined, {})[piece] = weight
        else:
            made[_renamed_back(name)] = weight
    for joined, pieces in split.items():
        made[joined] = torch.cat([pieces[piece] for piece in _SPLIT])
    return made


_NORMS = {"self_attn": "norm1", "encoder_attn": "norm_cross", "final": "norm2"}
_TO_AUDIOCRAFT: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (r"model\.decoder\.embed_tokens\.(\d+)\.weight", lambda m: f"emb.{m[1]}.weight"),
    (r"lm_heads\.(\d+)\.weight", lambda m: f"linears.{m[1]}.weight"),
    (r"model\.decoder\.layer_norm\.(weight|bias)", lambda m: f"out_norm.{m[1]}"),
    (
        r"model\.decoder\.layers\.(\d+)\.(self_attn|encoder_attn)\.out_proj\.weight",
        lambda m: (
            f"transformer.layers.{m[1]}."
            + ("self_attn" if m[2] == "self_attn" else "cross_attention")
            + ".out_proj.weight"
        ),
    ),
    (
        r"model\.decoder\.layers\.(\d+)\.fc([12])\.weight",
        lambda m: f"transformer.layers.{m[1]}.linear{m[2]}.weight",
    ),
    (
        r"model\.decoder\.layers\.(\d+)\.(self_attn|encoder_attn|final)_layer_norm\.(weight|bias)",
        lambda m: f"transformer.layers.{m[1]}.{_NORMS[m[2]]}.{m[3]}",
    ),
)


def _renamed_back(name: str) -> str:
    for pattern, target in _TO_AUDIOCRAFT:
        found = re.fullmatch(pattern, name)
        if found:
            return target(found)
    raise NotALanguageModel(f"{name} is not a tensor of MusicGen's decoder")


def decoder_from_audiocraft(
    state: Mapping[str, Tensor], heads: int, positions: int = 2048
) -> MusicgenForCausalLM | MusicgenMelodyForCausalLM:
    """transformers' decoder with an ``LMModel``'s weights, in evaluation mode, float32.

    Args:
        state: as of :func:`from_audiocraft`; its projections are left out.
        heads: of the attention (16, 24 or 32 in what was published), which no shape tells.
        positions: the most that will be read, prefix included.

    Raises:
        NotALanguageModel: names or shapes are not those of one model.
    """
    made, _ = from_audiocraft(state)

    def count(pattern: str) -> int:
        numbers = [int(found[1]) for name in made if (found := re.match(pattern, name))]
        return max(numbers, default=-1) + 1

    try:
        codes, width = made["model.decoder.embed_tokens.0.weight"].shape
        feed_forward = made["model.decoder.layers.0.fc1.weight"].shape[0]
    except KeyError as absent:
        raise NotALanguageModel(f"{absent.args[0]} is missing") from None
    sizes: dict[str, Any] = {
        "vocab_size": codes - 1,
        "max_position_embeddings": positions,
        "num_hidden_layers": count(r"model\.decoder\.layers\.(\d+)\."),
        "ffn_dim": feed_forward,
        "num_attention_heads": heads,
        "hidden_size": width,
        "num_codebooks": count(r"lm_heads\.(\d+)\."),
        "pad_token_id": codes - 1,
        "bos_token_id": codes - 1,
    }
    looks = any(".encoder_attn." in name for name in made)
    model = (
        MusicgenForCausalLM(MusicgenDecoderConfig(**sizes))
        if looks
        else MusicgenMelodyForCausalLM(MusicgenMelodyDecoderConfig(**sizes))
    )
    try:
        model.load_state_dict(made)
    except RuntimeError as error:
        raise NotALanguageModel(str(error)) from None
    return model.float().eval().requires_grad_(False)
