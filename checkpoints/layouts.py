"""Which tensors a checkpoint holds, by what its `config.json` says: names and shapes, no torch.

The service refuses a remix whose checkpoint cannot be loaded before it queues anything, and it
never loads a model. So the shapes that the workers' classes make are written down here once more;
`tests/workers/test_layouts.py` holds the two equal.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from checkpoints.card import Control

Shapes = dict[str, tuple[int, ...]]
"""Names of tensors, and how long they are in each dimension."""

CONTROL_ROWS: Mapping[Control, int] = {"density": 4, "fills": 3, "swing": 3}
"""Rows of a control's table: one for each value, and one for "not told"."""

GENERATOR: Mapping[str, Any] = {
    "width": 192,
    "layers": 4,
    "heads": 4,
    "feed_forward": 768,
    "window": 500,
    "margin": 50,
    "overlap": 100,
    "chroma_hop": 25,
    "told_throughout": False,
    "pitch_grid": None,
}
CONTEXT: Mapping[str, Any] = {
    "features": 64,
    "width": 192,
    "blocks": 3,
    "kernel": 15,
    "expansion": 2,
    "attention_layers": 1,
    "heads": 4,
    "roots": False,
}
DRUMS: Mapping[str, Any] = {
    "hop": 160,
    "window": 640,
    "subframes": 4,
    "codebooks": 2,
    "codebook_size": 1024,
    "latent": 64,
    "read_channels": 96,
    "encoder_channels": 160,
    "encoder_blocks": 2,
    "decoder_channels": 224,
    "decoder_blocks": 3,
    "write_channels": 128,
    "write_blocks": 2,
    "low_hop": 320,
    "low_bins": 0,
}
BASS: Mapping[str, Any] = {
    "window": 320,
    "subframes": 4,
    "codebooks": 2,
    "codebook_size": 256,
    "latent": 32,
    "pitches": 96,
    "harmonics": 64,
    "noise_bands": 41,
    "read_channels": 64,
    "channels": 160,
    "encoder_blocks": 2,
    "decoder_blocks": 3,
    "write_channels": 96,
}
"""What a config means by saying nothing: the defaults of the classes, those that shape tensors."""

SEPARATOR: Mapping[str, Mapping[str, Any]] = {
    "HDemucs": {"audio_channels": 2, "channels": 48, "depth": 6, "kernel_size": 8, "cac": True},
    "HTDemucs": {"audio_channels": 2, "channels": 48, "depth": 4, "kernel_size": 8, "cac": True},
    "ConsistentHDemucs": {
        "audio_channels": 2,
        "channels": 48,
        "depth": 6,
        "kernel_size": 8,
        "cac": True,
    },
}
"""The classes of demucs that are served, and their defaults."""

_GENERATOR_KEYS = {*GENERATOR, "part", "codec", "styles", "codebooks", "codebook_size"}
_GENERATOR_KEYS |= {"context", "controls", "sampling", "training"}
_CHROMA = 12
_CHORDS = 24
_PITCH_CHANNELS, _HARMONICS = 16, 6


def generator(config: Mapping[str, Any]) -> Shapes:
    """The tensors of a generator, from its whole `config.json`.

    :raises KeyError, TypeError, ValueError: the config is not one of ours.
    """
    c = {**GENERATOR, **config}
    context = {**CONTEXT, **config["context"]}
    width, styles = c["width"], c["styles"]
    for named, known in ((config, _GENERATOR_KEYS), (config["context"], set(CONTEXT))):
        if unknown := sorted(set(named) - known):
            raise ValueError(f"unknown: {', '.join(unknown)}")
    for text in ("part", "codec"):
        if not isinstance(c[text], str):
            raise TypeError(f"{text} must be a text")
    _counts(c, "width", "layers", "heads", "feed_forward", "codebooks", "codebook_size", "window")
    _counts(context, "features", "width", "blocks", "kernel", "expansion", "heads")
    if not styles or len(set(styles)) != len(styles):
        raise ValueError("a generator needs a list of different styles")
    if not 0 < c["overlap"] < c["window"]:
        raise ValueError(f"overlap {c['overlap']} must lie inside the window {c['window']}")
    for name, sizes in (("width", c), ("context.width", context)):
        if sizes["width"] % sizes["heads"]:
            raise ValueError(f"{name} {sizes['width']} is no multiple of {sizes['heads']} heads")
    found = {
        **{f"decoder.{name}": shape for name, shape in _decoder(c).items()},
        "style.weight": (len(styles) + 1, width),
        **{
            f"controls.{number}.weight": (CONTROL_ROWS[name], width)
            for number, name in enumerate(config.get("controls", ()))
        },
        **_linear("chroma", _CHROMA, width),
        **{f"context.{name}": shape for name, shape in _context(context, width).items()},
        "additive.weight": (width, width),
    }
    if c["told_throughout"]:
        found["playing.weight"] = (width, width)
    if c["pitch_grid"] is not None and context["roots"]:
        found |= _linear("intervals.choice", width, _CHROMA)
    return found


def codec(config: Mapping[str, Any]) -> Shapes:
    """The tensors of a codec, from its whole `config.json`; raises as `generator` does."""
    kinds: dict[str, tuple[Mapping[str, Any], Callable[[Mapping[str, Any]], Shapes]]] = {
        "drums": (DRUMS, _drums),
        "bass": (BASS, _bass),
    }
    kind = config["codec"]
    if kind not in kinds:
        raise ValueError(f"unknown codec {kind!r}: expected {' or '.join(sorted(kinds))}")
    defaults, shapes = kinds[kind]
    sizes = {key: config.get(key, value) for key, value in defaults.items()}
    _counts(sizes, *(name for name in sizes if name != "low_bins"))
    return shapes(sizes)


def adapter(peft_config: Mapping[str, Any], base: Mapping[str, Any]) -> Shapes:
    """The tensors of an adapter, from `adapter_config.json` and its base's `config.json`."""
    c, rank = {**GENERATOR, **base}, peft_config["r"]
    _counts({"r": rank}, "r")
    width, feed = c["width"], c["feed_forward"]
    sizes = {f"self_attn.{name}_proj": (width, width) for name in ("q", "k", "v", "out")}
    sizes |= {"fc1": (width, feed), "fc2": (feed, width)}
    found: Shapes = {"style.token_adapter.trainable_tokens_delta": (1, width)}
    for layer in range(c["layers"]):
        for name, (inputs, outputs) in sizes.items():
            place = f"decoder.model.decoder.layers.{layer}.{name}"
            found[f"{place}.lora_A.weight"] = (rank, inputs)
            found[f"{place}.lora_B.weight"] = (outputs, rank)
    return found


def separator_ends(kind: str, arguments: Mapping[str, Any]) -> Shapes:
    """Of a separator's tensors those where audio goes in and stems come out, and its last layer's.

    What lies between is demucs' own affair. `kind` is the class's name, `arguments` its arguments
    by name; raises as `generator` does.
    """
    if kind not in SEPARATOR:
        raise ValueError(f"unknown class {kind!r}: expected {' or '.join(sorted(SEPARATOR))}")
    sources = arguments["sources"]
    if not sources or not all(isinstance(source, str) for source in sources):
        raise ValueError("sources must be a list of names")
    if arguments.get("multi_freqs"):
        # Its layers are several, each under a name of its own.
        return {}
    c = {key: arguments.get(key, value) for key, value in SEPARATOR[kind].items()}
    _counts(c, "audio_channels", "channels", "depth", "kernel_size")
    # A complex number as two channels.
    heard = c["audio_channels"] * (2 if c["cac"] else 1)
    last, channels, kernel = c["depth"] - 1, c["channels"], c["kernel_size"]
    return {
        "encoder.0.conv.weight": (channels, heard, kernel, 1),
        f"decoder.{last}.conv_tr.weight": (channels, heard * len(sources), kernel, 1),
    }


def _decoder(c: Mapping[str, Any]) -> Shapes:
    width = c["width"]
    found: Shapes = {}
    for book in range(c["codebooks"]):
        found[f"model.decoder.embed_tokens.{book}.weight"] = (c["codebook_size"] + 1, width)
        found[f"lm_heads.{book}.weight"] = (c["codebook_size"], width)
    for number in range(c["layers"]):
        layer = f"model.decoder.layers.{number}"
        for name in ("q", "k", "v", "out"):
            found[f"{layer}.self_attn.{name}_proj.weight"] = (width, width)
        found |= _norm(f"{layer}.self_attn_layer_norm", width)
        found |= _norm(f"{layer}.final_layer_norm", width)
        found[f"{layer}.fc1.weight"] = (c["feed_forward"], width)
        found[f"{layer}.fc2.weight"] = (width, c["feed_forward"])
    return found | _norm("model.decoder.layer_norm", width)


def _context(c: Mapping[str, Any], output: int) -> Shapes:
    width, inner = c["width"], c["expansion"] * c["width"]
    found: Shapes = {}
    if c["roots"]:
        found |= _convolution("roots.chords", (_CHORDS, 1, _CHROMA, 5))
        found |= _convolution("roots.movement", (_CHORDS, _CHORDS, _CHROMA, 1))
        found |= _convolution("roots.around", (_CHORDS, 1, 1, 9))
        found |= _convolution("roots.root", (1, _CHORDS, 1, 1))
    inputs = c["features"] + 2 + (_CHROMA if c["roots"] else 0)
    found |= _linear("inputs", inputs, width) | {"kept.weight": (width, output)}
    for number in range(c["blocks"]):
        found |= _block(f"blocks.{number}", width, c["kernel"], inner)
    for number in range(c["attention_layers"]):
        layer = f"attention.{number}"
        found[f"{layer}.self_attn.in_proj_weight"] = (3 * width, width)
        found[f"{layer}.self_attn.in_proj_bias"] = (3 * width,)
        found |= _linear(f"{layer}.self_attn.out_proj", width, width)
        found |= _linear(f"{layer}.linear1", width, inner)
        found |= _linear(f"{layer}.linear2", inner, width)
        found |= _norm(f"{layer}.norm1", width) | _norm(f"{layer}.norm2", width)
    return found | _norm("norm", width) | _linear("output", width, output)


def _drums(c: Mapping[str, Any]) -> Shapes:
    bins, frame = c["window"] // 2 + 1, c["hop"] * c["subframes"]
    read, encoder, decoder = c["read_channels"], c["encoder_channels"], c["decoder_channels"]
    write = c["write_channels"]
    found: Shapes = {"tables": (c["codebooks"], c["codebook_size"], c["latent"])}
    found |= _linear("read_magnitude", bins, read) | _linear("read_wave", 2 * c["hop"], read)
    found |= _blocks("read", read, 1, 7) | _linear("gather", read * c["subframes"], encoder)
    found |= _blocks("encoder", encoder, c["encoder_blocks"], 3)
    found |= _norm("to_latent.0", encoder) | _linear("to_latent.1", encoder, c["latent"])
    found |= _convolution("from_latent", (decoder, c["latent"], 3))
    found |= _blocks("decoder", decoder, c["decoder_blocks"], 7)
    found |= _linear("spread", decoder, write * c["subframes"])
    found |= _blocks("write", write, c["write_blocks"], 7)
    found |= _norm("head.0", write) | _linear("head.1", write, 2 * bins)
    if c["low_bins"]:
        low = frame // c["low_hop"] * c["low_bins"]
        found |= _linear("read_low", low, encoder)
        found |= _norm("low_head.0", decoder) | _linear("low_head.1", decoder, 2 * low)
    return found


def _bass(c: Mapping[str, Any]) -> Shapes:
    bins, channels, read, write = (
        c["window"] // 2 + 1, c["channels"], c["read_channels"], c["write_channels"]
    )  # fmt: skip
    found: Shapes = {"tables": (c["codebooks"] - 1, c["codebook_size"], c["latent"])}
    inputs = _HARMONICS + 2
    for number in (0, 2, 4):
        found |= _convolution(f"pitch.layers.{number}", (_PITCH_CHANNELS, inputs, 3, 5))
        inputs = _PITCH_CHANNELS
    found |= _convolution("pitch.layers.6", (1, inputs, 1, 1)) | _linear("pitch.unvoiced", 2, 1)
    found |= _linear("read_magnitude", bins, read) | _blocks("read", read, 1, 7)
    found |= _linear("gather", read * c["subframes"], channels)
    found |= _blocks("encoder", channels, c["encoder_blocks"], 3)
    found |= _norm("to_latent.0", channels) | _linear("to_latent.1", channels, c["latent"])
    found |= _linear("from_latent", c["latent"], channels)
    found["from_pitch.weight"] = (c["pitches"] + 1, channels)
    found |= _blocks("decoder", channels, c["decoder_blocks"], 5)
    found |= _linear("spread", channels, write * c["subframes"]) | _blocks("write", write, 1, 7)
    return found | _norm("head.0", write) | _linear(
        "head.1", write, c["harmonics"] + c["noise_bands"]
    )  # fmt: skip


def _blocks(name: str, channels: int, count: int, kernel: int) -> Shapes:
    """A codec's stack of ConvNeXt blocks, with a scale each."""
    found: Shapes = {}
    for number in range(count):
        found |= _block(f"{name}.{number}", channels, kernel, 3 * channels)
        found[f"{name}.{number}.scale"] = (channels,)
    return found


def _block(name: str, width: int, kernel: int, inner: int) -> Shapes:
    return {
        **_convolution(f"{name}.depthwise", (width, 1, kernel)),
        **_norm(f"{name}.norm", width),
        **_linear(f"{name}.expand", width, inner),
        **_linear(f"{name}.contract", inner, width),
    }


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _convolution(name: str, shape: tuple[int, ...]) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _counts(sizes: Mapping[str, Any], *names: str) -> None:
    for name in names:
        value = sizes[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a whole number from 1 on, not {value!r}")


def differences(expected: Shapes, found: Shapes) -> Iterable[str]:
    """What is wrong with the tensors that were found, tensor by tensor, in words."""
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            yield f"{name} is missing"
        elif name not in expected:
            yield f"{name} is not in the model"
        elif expected[name] != found[name]:
            yield f"{name} is {list(found[name])}, the config says {list(expected[name])}"
