"""Stock checkpoints with random weights: transformers' public format, in any size."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workers.regeneration.torchaudio_stub import make_torchaudio_importable

make_torchaudio_importable()

from transformers import (  # noqa: E402
    EncodecConfig,
    MusicgenConfig,
    MusicgenForConditionalGeneration,
    MusicgenMelodyConfig,
    MusicgenMelodyForConditionalGeneration,
    T5Config,
)

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "ffn_dim": 48,
    "vocab_size": 16,
    "num_codebooks": 4,
    "max_position_embeddings": 128,
}
SMALL = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "ffn_dim": 4096,
    "vocab_size": 2048,
    "num_codebooks": 4,
}
"""musicgen-small's decoder."""


def stock(kind: str, sizes: dict[str, int], seed: int = 0) -> Any:
    """A model of random weights whose logits differ enough for a greedy choice."""
    torch.manual_seed(seed)
    padding = sizes["vocab_size"]
    text = T5Config(
        vocab_size=40, d_model=24, d_kv=8, d_ff=32, num_layers=1, num_decoder_layers=1, num_heads=2
    )
    # Four books of sizes["vocab_size"] codes at 50 frames a second.
    books, rate = sizes["num_codebooks"], 400
    codec = EncodecConfig(
        sampling_rate=rate, audio_channels=1, num_filters=4, hidden_size=16, codebook_dim=16,
        codebook_size=padding, upsampling_ratios=[4, 2], num_lstm_layers=1,
        target_bandwidths=[books * (padding - 1).bit_length() * rate / 8 / 1000],
    )  # fmt: skip
    given: dict[str, Any] = {
        **sizes, "pad_token_id": padding, "bos_token_id": padding, "dropout": 0.0,
        "initializer_factor": 1.0 / sizes["hidden_size"] ** 0.5,
    }  # fmt: skip
    parts: dict[str, Any] = {
        "text_encoder": text.to_dict(), "audio_encoder": codec.to_dict(), "decoder": given
    }  # fmt: skip
    if kind == "musicgen":
        model = MusicgenForConditionalGeneration(MusicgenConfig(**parts))
    else:
        model = MusicgenMelodyForConditionalGeneration(
            MusicgenMelodyConfig(**parts, num_chroma=12, chroma_length=5)
        )
    # With transformers' own 0.02 every text and every code would say the same.
    with torch.no_grad():
        for table in model.decoder.model.decoder.embed_tokens:
            table.weight.normal_()
        for name in ("enc_to_dec_proj", "audio_enc_to_dec_proj"):
            if hasattr(model, name):
                getattr(model, name).weight.normal_(std=0.5)
                getattr(model, name).bias.normal_(std=0.5)
    model.generation_config.update(
        decoder_start_token_id=padding, pad_token_id=padding, bos_token_id=padding,
        eos_token_id=None, max_length=None,
    )  # fmt: skip
    return model.eval().requires_grad_(False)


def saved(model: Any, folder: Path) -> Path:
    """The model as a folder of config.json and safetensors."""
    model.save_pretrained(folder)
    return folder


def generated(model: Any, frames: int, guidance: float, **told: Tensor) -> tuple[Tensor, Tensor]:
    """transformers' own greedy codes int64 [B, K, F] and audio [B, 1, T]."""
    seen: list[Tensor] = []
    decode = model.audio_encoder.decode

    def decoding(codes: Tensor, *rest: Any, **named: Any) -> Any:
        seen.append(codes[0])
        return decode(codes, *rest, **named)

    model.audio_encoder.decode = decoding
    try:
        audio = model.generate(
            **told, do_sample=False, guidance_scale=guidance,
            max_new_tokens=frames + model.decoder.num_codebooks - 1,
        )  # fmt: skip
    finally:
        model.audio_encoder.decode = decode
    return seen[0], audio
