"""Fitting: whether a checkpoint's files make what its card says, without loading any of them.

Only what can be read in a moment is: sizes, `config.json` (by its hash) and the header of the
weights, which names every tensor with its shape. Whoever opens the checkpoint verifies all of it.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from checkpoints import layouts, registry
from checkpoints.card import Card
from checkpoints.errors import CheckpointHashMismatch, CheckpointInvalid
from checkpoints.limits import HIGHEST_TEMPERATURE, LARGEST_TOP_K, MOST_GUIDANCE

CONFIG, WEIGHTS = "config.json", "model.safetensors"
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_SHOWN = 3
_SAMPLING = {
    "guidance_context": MOST_GUIDANCE,
    "guidance_style": MOST_GUIDANCE,
    "temperature": HIGHEST_TEMPERATURE,
    "top_k": LARGEST_TOP_K,
    "top_p": 1.0,
}


@dataclass(frozen=True, slots=True)
class _Changed:
    """When a file was what it is: what was read of it counts until then."""

    path: Path
    modified: int
    bytes: int


def require_fitting(card: Card) -> None:
    """Raise unless a checkpoint's files make what its card says.

    The cards it requires are looked at too. A card whose files are not on this machine
    passes: an API may run where no weights are, and a worker says what it finds.

    :raises CheckpointInvalid: a config or a shape does not fit the card, the config or the codec.
    :raises CheckpointHashMismatch: a file's size, or the config, is not the one the card names.
    :raises UnknownCheckpoint: a card that is required is not there.
    """
    if card.role == "adapter":
        _require_adapter(card)
    elif card.role == "generator":
        _require_generator(card)
    elif card.role == "codec":
        _require_codec(card)
    elif card.role == "separator":
        _require_separator(card)


def _require_generator(card: Card) -> None:
    codecs = [registry.card(name) for name in card.requires]
    for codec in codecs:
        _require_codec(codec)
    files = _files(card)
    if files is None:
        return
    if len(codecs) != 1:
        raise CheckpointInvalid(f"{card.name}: a generator requires one codec, not {len(codecs)}")
    config = _config(card, files, CONFIG)
    _compare(card, lambda: layouts.generator(config), _shapes(card, files, WEIGHTS))
    _require_abilities(card, (config["part"],), config["styles"], config.get("controls", ()))
    _require_sampling(card, config.get("sampling", {}))
    there = _files(codecs[0])
    if there is not None:
        heard = _config(codecs[0], there, CONFIG)
        _require_same_codes(card, config, codecs[0], heard)


def _require_codec(card: Card) -> None:
    files = _files(card)
    if files is not None:
        config = _config(card, files, CONFIG)
        _compare(card, lambda: layouts.codec(config), _shapes(card, files, WEIGHTS))


def _require_separator(card: Card) -> None:
    files = _files(card)
    if files is None:
        return
    if CONFIG in files:
        config, weights = _config(card, files, CONFIG), WEIGHTS
        kind, arguments = config.get("class"), config.get("kwargs")
    else:
        weights = next((name for name in files if name.endswith(".safetensors")), WEIGHTS)
        kind, arguments = _published(card, _named(card, files, weights))
    if not isinstance(kind, str) or not isinstance(arguments, dict):
        raise CheckpointInvalid(f"{card.name}: it names no class with its arguments")
    found = _shapes(card, files, weights)
    _compare(card, lambda: layouts.separator_ends(kind, arguments), found, whole=False)
    if set(arguments["sources"]) != set(card.sources):
        raise CheckpointInvalid(
            f"{card.name}: gives {', '.join(arguments['sources'])}, its card says "
            f"{', '.join(card.sources)}"
        )


def _published(card: Card, weights: _Changed) -> tuple[str, dict[str, Any]]:
    """The class and its arguments, from the one file in which demucs publishes a model."""
    try:
        with safe_open(weights.path, framework="numpy") as opened:
            told = opened.metadata() or {}
        # `sources` is the first argument of each class, the others are given by name.
        arguments = {
            **dict(zip(("sources",), json.loads(told["args"]), strict=False)),
            **json.loads(told["kwargs"]),
        }
        kind = told["klass"].rpartition(".")[2]
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise CheckpointInvalid(
            f"{card.name}: {weights.path.name} cannot be read: {error}"
        ) from error
    # The worker takes it from where demucs has it, whole, and from nowhere else.
    if told["klass"] != f"demucs.{kind.lower()}.{kind}" or "structure" in told:
        raise CheckpointInvalid(
            f"{card.name}: {weights.path.name} names {told['klass']}, which is not on the list"
        )
    return kind, arguments


def _require_adapter(card: Card) -> None:
    base = registry.card(card.base or "")
    _require_generator(base)
    files, there = _files(card), _files(base)
    if files is None or there is None:
        return
    config, known = _config(card, files, CONFIG), _config(base, there, CONFIG)
    told = _config(card, files, ADAPTER_CONFIG)
    _compare(card, lambda: layouts.adapter(told, known), _shapes(card, files, ADAPTER_WEIGHTS))
    part, style = config.get("part"), config.get("style")
    _require_abilities(card, (part, known["part"]), (style,), known.get("controls", ()))
    if part != known["part"] or style in known["styles"]:
        raise CheckpointInvalid(
            f"{card.name}: plays {part} in the style {style!r}, which {base.name} does not add to"
        )


def _require_abilities(
    card: Card, parts: Iterable[Any], styles: Iterable[Any], controls: Iterable[Any]
) -> None:
    """What the card promises is what the config says there is."""
    lacking = [
        f"the card names the {word} {', '.join(sorted(missing))}, the weights do not"
        for word, missing in (
            ("part", set(card.parts) - set(parts)),
            ("styles", set(card.styles) - set(styles)),
            ("controls", set(card.controls) - set(controls)),
        )
        if missing
    ]
    if lacking:
        raise CheckpointInvalid(f"{card.name}: {'; '.join(lacking)}")


def _require_sampling(card: Card, sampling: Mapping[str, Any]) -> None:
    if unknown := sorted(set(sampling) - set(_SAMPLING)):
        raise CheckpointInvalid(f"{card.name}: unknown in sampling: {', '.join(unknown)}")
    for name, most in _SAMPLING.items():
        value = sampling.get(name, most)
        sound = isinstance(value, int if name == "top_k" else int | float) and not isinstance(
            value, bool
        )
        if not (sound and math.isfinite(value) and 0 <= value <= most):
            raise CheckpointInvalid(
                f"{card.name}: sampling.{name} must lie in 0..{most:g}, not {value}"
            )
    # The listener's one dial turns both guidances in the ratio that the checkpoint recommends.
    if sampling.get("guidance_context") == 0:
        raise CheckpointInvalid(f"{card.name}: sampling.guidance_context must not be 0")


def _require_same_codes(
    card: Card, config: Mapping[str, Any], codec: Card, heard: Mapping[str, Any]
) -> None:
    defaults = layouts.DRUMS if heard.get("codec") == "drums" else layouts.BASS
    own = {key: config[key] for key in ("codebooks", "codebook_size")}
    other = {key: heard.get(key, defaults[key]) for key in own}
    if own != other:
        raise CheckpointInvalid(
            f"{card.name}: speaks {own['codebooks']} codebooks of {own['codebook_size']} codes,"
            f" {codec.name} {other['codebooks']} of {other['codebook_size']}"
        )


def _files(card: Card) -> dict[str, _Changed] | None:
    """The card's files as they stand, or None where one is not on this machine."""
    found = {}
    for name, spec in card.files.items():
        path = registry.folder(card) / name
        try:
            status = path.stat()
        except OSError:
            return None
        if spec.bytes is not None and status.st_size != spec.bytes:
            raise CheckpointHashMismatch(
                f"{card.name}: {name} has {status.st_size} bytes, the card says {spec.bytes}. It "
                "was changed or damaged and is not loaded."
            )
        found[name] = _Changed(path, status.st_mtime_ns, status.st_size)
    return found


def _named(card: Card, files: Mapping[str, _Changed], name: str) -> _Changed:
    if name not in files:
        raise CheckpointInvalid(f"{card.name}: its card names no {name}")
    return files[name]


def _config(card: Card, files: Mapping[str, _Changed], name: str) -> dict[str, Any]:
    file, spec = _named(card, files, name), card.files[name]
    if spec.sha256 is not None:
        registry.verify(card, name, spec, file.path)
    try:
        config = json.loads(file.path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointInvalid(f"{card.name}: {name} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointInvalid(f"{card.name}: {name} is not a JSON object")
    return config


def _shapes(card: Card, files: Mapping[str, _Changed], name: str) -> layouts.Shapes:
    try:
        return _header(_named(card, files, name))
    except (OSError, SafetensorError) as error:
        raise CheckpointInvalid(f"{card.name}: {name} cannot be read: {error}") from error


@lru_cache(maxsize=64)
def _header(file: _Changed) -> layouts.Shapes:
    """The tensors of a safetensors file; the library checks that they fill it exactly."""
    with safe_open(file.path, framework="numpy") as opened:
        return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118


def _compare(
    card: Card,
    layout: Callable[[], layouts.Shapes],
    found: layouts.Shapes,
    *,
    whole: bool = True,
) -> None:
    """Raise where they differ; with `whole` nothing more may be found than is expected."""
    try:
        expected = layout()
        if not whole:
            found = {name: shape for name, shape in found.items() if name in expected}
        wrong = list(layouts.differences(expected, found))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointInvalid(f"{card.name}: its config is not one of ours: {error}") from error
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise CheckpointInvalid(f"{card.name}: {'; '.join(wrong[:_SHOWN])}{more}")
