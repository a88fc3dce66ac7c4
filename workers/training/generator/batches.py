"""Batches of windows: which frames, which of them are kept, what of the condition is left out."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from workers.regeneration.conditioning import CHROMA_BINS, FRAME_RATE, features_of
from workers.regeneration.controls import row_of
from workers.regeneration.delay import delay
from workers.regeneration.model import GeneratorConfig, Window
from workers.training.generator.degradation import clean_context, degraded_context, disturbed
from workers.training.generator.examples import Example

NOTHING_TOLD, PLAYING_UNTOLD, CONTEXT_UNTOLD = 0.1, 0.2, 0.03
"""Share of windows with no condition, without style and controls, and without context alone."""
STYLE_LEFT_OUT, CONTROL_LEFT_OUT = 0.15, 0.3
"""Of the other windows, how often the style and each control are left out, independently."""
SEPARATED = 0.3
"""Share of windows that hear a separated context, of the pieces that were separated."""
RESTYLED = 0.4
"""Share of windows whose part is in another style than the stems suggest, where there are some."""
EDGE = 0.12
"""Share of windows at the beginning of a piece, and as many at its end."""
CONTINUED, FILLED_IN = 0.4, 0.15
"""Share of windows that continue kept frames, and that fill a gap between kept ones."""


TRANSPOSED = 0.7
"""Share of bass windows that are moved to another key."""


@dataclass(frozen=True)
class Batch:
    """Windows and what is to be predicted.

    ``columns`` int64 [B, K, F + K] in the delay pattern; ``targets`` the same with -100 where
    nothing is learned: cells of no frame, and kept frames. ``roots`` int64 [B, margin + F + margin]
    are those of the chords (C is 0), -100 where there is none or the context is not heard.
    """

    window: Window
    columns: Tensor
    targets: Tensor
    roots: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same on another device."""
        window = {name: value.to(device) for name, value in vars(self.window).items()}
        columns, targets, roots = (
            value.to(device) for value in (self.columns, self.targets, self.roots)
        )
        return Batch(Window(**window), columns, targets, roots)


def _kept(frames: int, rng: np.random.Generator) -> Tensor:
    mask = torch.zeros(frames, dtype=torch.bool)
    draw = rng.random()
    if draw < CONTINUED:
        mask[: int(rng.integers(10, max(11, frames // 3)))] = True
    elif draw < CONTINUED + FILLED_IN:
        gap = int(rng.integers(frames // 10, frames // 2))
        first = int(rng.integers(0, frames - gap))
        mask[:] = True
        mask[first : first + gap] = False
    return mask


def _cut(features: Tensor, first: int, frames: int, margin: int) -> tuple[Tensor, Tensor]:
    """Features [FEATURES, margin + frames + margin] and where they lie inside the piece."""
    length = features.shape[-1]
    padded = functional.pad(features, (margin, margin))
    present = functional.pad(torch.ones(length), (margin, margin))
    inside = slice(first, first + frames + 2 * margin)
    return padded[:, inside], present[inside]


def batch_of(
    config: GeneratorConfig,
    features: list[Tensor],
    codes: list[Tensor],
    styles: list[int],
    controls: list[tuple[int, ...]],
    firsts: list[int],
    kept: list[Tensor],
    presence: list[float],
    roots: list[Tensor] | None = None,
) -> Batch:
    """Stack windows; ``presence`` 0 leaves a row's context out, ``roots`` are of whole pieces."""
    if roots is None:
        roots = [torch.full((c.shape[1],), -100) for c in codes]
    cuts = [
        _cut(f, first, config.window, config.margin)
        for f, first in zip(features, firsts, strict=True)
    ]
    chosen = torch.stack(
        [c[:, first : first + config.window] for c, first in zip(codes, firsts, strict=True)]
    )
    mask = torch.stack(kept)
    told = torch.tensor(presence)[:, None]
    window = Window(
        features=torch.stack([cut[0] for cut in cuts]),
        present=torch.stack([cut[1] for cut in cuts]) * told,
        style=torch.tensor(styles),
        controls=torch.tensor(controls, dtype=torch.int64).reshape(len(styles), -1),
        kept_codes=chosen,
        kept_mask=mask,
    )
    hidden = mask[:, None].expand_as(chosen)
    around = [
        functional.pad(r, (config.margin, config.margin), value=-100)[
            first : first + config.window + 2 * config.margin
        ]
        for r, first in zip(roots, firsts, strict=True)
    ]
    return Batch(
        window=window,
        columns=delay(chosen, config.padding),
        targets=delay(torch.where(hidden, -100, chosen), -100),
        roots=torch.where(told > 0, torch.stack(around), -100),
    )


def roots_of(example: Example, semitones: int = 0) -> Tensor:
    """Roots of a piece's chords, int64 [F], in another key; -100 where it has no chord."""
    roots = torch.full((example.frames,), -100)
    for chord in example.meta.get("chords", []):
        frames = slice(round(chord["start"] * FRAME_RATE), round(chord["end"] * FRAME_RATE))
        roots[frames] = (int(chord["root"]) + semitones) % 12
    return roots


def transposed(
    features: Tensor, codes: Tensor, semitones: int, pitches: int
) -> tuple[Tensor, Tensor] | None:
    """A bass line and its context's chroma in another key; ``None`` if it would leave the grid.

    Args:
        features: float32 [FEATURES, F]; only its chroma moves, log-mel bands are too wide to.
        codes: int64 [K, F]; the first codebook is a pitch in quarter tones, 1..pitches, or none.
        semitones: how far.
        pitches: of the codec's grid.
    """
    voiced = (codes[0] >= 1) & (codes[0] <= pitches)
    moved = codes[0] + 2 * semitones
    if bool(((moved < 1) | (moved > pitches))[voiced].any()):
        return None
    chroma = features[-CHROMA_BINS:].roll(semitones, dims=0)
    first = torch.where(voiced, moved, codes[0])
    return torch.cat([features[:-CHROMA_BINS], chroma]), torch.cat([first[None], codes[1:]])


def told_of(config: GeneratorConfig, example: Example) -> tuple[int, tuple[int, ...]]:
    """Rows of a piece's style and controls; what its description does not say is not told.

    Raises:
        UnknownControl: a label is not one of the control's values.
    """
    style = example.meta.get("style")
    row = config.styles.index(style) if style in config.styles else len(config.styles)
    labels = example.meta.get("controls", {}).get(config.part, {})
    return row, tuple(row_of(name, labels.get(name)) for name in config.controls)


def _left_out(
    config: GeneratorConfig, example: Example, rng: np.random.Generator
) -> tuple[int, tuple[int, ...], float]:
    """Style, controls and presence of the context, some of them left out."""
    style, controls = told_of(config, example)
    draw = rng.random()
    presence = 1.0
    if example.restyled:
        # Untold, the stems decide the style; these are there to teach that what is told does.
        return style, _some(config, controls, rng), 0.0 if draw < NOTHING_TOLD else 1.0
    if draw < NOTHING_TOLD + PLAYING_UNTOLD:
        return len(config.styles), config.untold, 0.0 if draw < NOTHING_TOLD else 1.0
    if draw < NOTHING_TOLD + PLAYING_UNTOLD + CONTEXT_UNTOLD:
        presence = 0.0
    if rng.random() < STYLE_LEFT_OUT:
        style = len(config.styles)
    return style, _some(config, controls, rng), presence


def _some(
    config: GeneratorConfig, controls: tuple[int, ...], rng: np.random.Generator
) -> tuple[int, ...]:
    """Controls, some of them left out."""
    return tuple(
        untold if rng.random() < CONTROL_LEFT_OUT else row
        for row, untold in zip(controls, config.untold, strict=True)
    )


def _drawn(examples: list[Example], part: str, rng: np.random.Generator) -> tuple[Example, Tensor]:
    """A piece and the powers of the context that is heard of it."""
    restyled = [example for example in examples if example.restyled]
    if restyled:
        wanted = rng.random() < RESTYLED
        examples = restyled if wanted else [e for e in examples if not e.restyled]
    separated = [example for example in examples if example.separated is not None]
    if separated and rng.random() < SEPARATED:
        example = separated[int(rng.integers(len(separated)))]
        return example, disturbed(example.separated_powers(), rng)
    example = examples[int(rng.integers(len(examples)))]
    return example, degraded_context(example.powers(), part, rng)


def training_batch(
    config: GeneratorConfig,
    examples: list[Example],
    size: int,
    seed: int,
    step: int,
    pitches: int | None = None,
) -> Batch:
    """The batch of one step; it depends on the examples, the seed and the step alone.

    ``pitches`` is the size of the codec's pitch grid where its first codebook is one.
    """
    rng = np.random.default_rng([seed, step])
    rows: list[tuple[Tensor, Tensor, int, tuple[int, ...], int, Tensor, float, Tensor]] = []
    for _ in range(size):
        example, context = _drawn(examples, config.part, rng)
        last = example.frames - config.window
        edge = rng.random()
        first = 0 if edge < EDGE else last if edge < 2 * EDGE else int(rng.integers(last + 1))
        style, controls, presence = _left_out(config, example, rng)
        codes = torch.from_numpy(example.codes.astype(np.int64))
        features = features_of(context[None])[0]
        roots = roots_of(example)
        if pitches is not None and rng.random() < TRANSPOSED:
            semitones = int(rng.integers(-5, 7))
            moved = transposed(features, codes, semitones, pitches)
            if moved is not None:
                features, codes = moved
                roots = roots_of(example, semitones)
        kept = _kept(config.window, rng)
        rows.append((features, codes, style, controls, first, kept, presence, roots))
    heard, played, styles, controls_, firsts, masks, presences, rooted = (
        list(column) for column in zip(*rows, strict=True)
    )
    return batch_of(config, heard, played, styles, controls_, firsts, masks, presences, rooted)


VALIDATIONS = ("true", "shuffled", "none", "told", "separated")


def validation_batch(config: GeneratorConfig, examples: list[Example], context: str) -> Batch:
    """The middle window of every piece with its own, another piece's, or no context.

    Args:
        context: "true", "shuffled" (the next piece's), "none", "told" (its own, and style and
            controls, which are never told otherwise) or "separated" (what the separator left, of
            the pieces that were separated; ``ValueError`` where none was).
    """
    if context == "separated":
        examples = [example for example in examples if example.separated is not None]
        if not examples:
            raise ValueError("no piece was separated")
        features = [features_of(e.separated_powers()[None])[0] for e in examples]
    else:
        features = [features_of(clean_context(e.powers(), config.part)[None])[0] for e in examples]
    if context == "shuffled":
        features = features[1:] + features[:1]
    frames = min(e.frames for e in examples)
    first = (frames - config.window) // 2
    untold = (len(config.styles), config.untold)
    told = [told_of(config, e) if context == "told" else untold for e in examples]
    return batch_of(
        config,
        [f[:, :frames] for f in features],
        [torch.from_numpy(e.codes.astype(np.int64)) for e in examples],
        [style for style, _ in told],
        [controls for _, controls in told],
        [first] * len(examples),
        [torch.zeros(config.window, dtype=torch.bool)] * len(examples),
        [0.0 if context == "none" else 1.0] * len(examples),
        [roots_of(e)[:frames] for e in examples],
    )
