"""An artist's own adapter: low-rank changes of a generator's decoder, and a style of its own.

LoRA (Hu et al., arXiv 2106.09685), by peft: every projection W of the decoder's attention and
feed-forward becomes W + (alpha / rank) B A. The adapter's style is one more row of the style table,
trained along with A and B; nothing else of the generator moves. For playing, all of it is added
into a copy of the base once, so that an adapted generator costs a step nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from workers.regeneration.model import ConditionedMusicgen
from workers.regeneration.torchaudio_stub import make_torchaudio_importable

make_torchaudio_importable()

from peft import (  # noqa: E402
    LoraConfig,
    get_peft_model_state_dict,
    inject_adapter_in_model,
    set_peft_model_state_dict,
)
from peft.tuners.lora import LoraModel  # noqa: E402

WEIGHTS, PEFT_CONFIG, CONFIG = "adapter_model.safetensors", "adapter_config.json", "config.json"
"""The first two are peft's own names and forms; the third says what peft's have no place for."""

TARGETS = r"decoder\.model\.decoder\.layers\.\d+\.(self_attn\.(q|k|v|out)_proj|fc1|fc2)"


@dataclass(frozen=True)
class LoraSize:
    """``rank`` of the changes, and ``alpha``: alpha / rank is what they are multiplied with."""

    rank: int = 8
    alpha: int = 16

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0:
            raise ValueError(f"rank {self.rank} and alpha {self.alpha} must be positive")


def with_style(base: ConditionedMusicgen, style: str) -> ConditionedMusicgen:
    """A copy of a generator that knows one more style, for now as if none were told.

    Raises:
        ValueError: the generator has a style of that name.
    """
    known = len(base.config.styles)
    model = ConditionedMusicgen(replace(base.config, styles=(*base.config.styles, style)))
    state = base.state_dict()
    table = state["style.weight"]
    # The last row is "no style told"; it stays the last.
    state["style.weight"] = torch.cat([table, table[known:]])
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)


def make_trainable(base: ConditionedMusicgen, style: str, size: LoraSize) -> ConditionedMusicgen:
    """A copy of a generator whose only trainable parameters are a new adapter's.

    At first it plays as the base does. A is drawn from torch's generator.
    """
    model = with_style(base, style)
    inject_adapter_in_model(_lora(size, base), model)
    return model


def _lora(size: LoraSize, base: ConditionedMusicgen) -> LoraConfig:
    return LoraConfig(
        r=size.rank,
        lora_alpha=size.alpha,
        target_modules=TARGETS,
        trainable_token_indices={"style": [len(base.config.styles)]},
    )


def adapter_state(model: ConditionedMusicgen) -> dict[str, Tensor]:
    """What is kept of a model of :func:`make_trainable`: the adapter's tensors, float32."""
    found: Mapping[str, Tensor] = get_peft_model_state_dict(model)
    return {name: value.detach().cpu().contiguous().clone() for name, value in found.items()}


def peft_config(size: LoraSize, base: ConditionedMusicgen, name: str) -> dict[str, Any]:
    """``adapter_config.json``, as peft reads and writes it; ``name`` is the base's card."""
    config = {
        **_lora(size, base).to_dict(),
        "base_model_name_or_path": name,
        "inference_mode": True,
    }
    # peft keeps names in sets; JSON has none, and the same adapter is to be the same bytes.
    return {k: sorted(v) if isinstance(v, set) else v for k, v in sorted(config.items())}


def adapted(base: ConditionedMusicgen, files: Mapping[str, Path]) -> ConditionedMusicgen:
    """A copy of ``base`` with an adapter's changes added in.

    Args:
        base: the generator that the adapter was trained on.
        files: paths of :data:`WEIGHTS`, :data:`PEFT_CONFIG` and :data:`CONFIG`, by name.

    Raises:
        KeyError, TypeError, ValueError: a file is missing, a config is not ours, or the adapter is
            for a generator of another shape.
    """
    ours = json.loads(files[CONFIG].read_text(encoding="utf-8"))
    told = json.loads(files[PEFT_CONFIG].read_text(encoding="utf-8"))
    if told["peft_type"] != "LORA" or told["target_modules"] != TARGETS:
        raise ValueError("the adapter changes other modules than ours do")
    if ours["part"] != base.config.part:
        raise ValueError(f"the adapter plays {ours['part']}, its base {base.config.part}")
    model = with_style(base, ours["style"])
    config = _lora(LoraSize(told["r"], told["lora_alpha"]), base)
    tuner = LoraModel(model, {"default": config}, "default")
    state = load_file(files[WEIGHTS])
    expected = get_peft_model_state_dict(tuner.model)
    if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in expected.items()}:
        raise ValueError("the adapter's weights do not fit its base")
    set_peft_model_state_dict(tuner.model, state)
    merged: nn.Module = tuner.merge_and_unload()
    if not isinstance(merged, ConditionedMusicgen):
        raise TypeError(f"merging gave a {type(merged).__name__}")
    return merged.eval().requires_grad_(False)
