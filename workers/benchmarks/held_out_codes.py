"""What a precision of the weights costs: cross-entropy on codes that nobody trained on.

The codes are those of held-out pieces (see ``held_out.py``), through the codec that ships. Every
column goes through :meth:`Decoder.step` as in a remix, told the style and the stems that stay.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from workers.benchmarks.held_out import Rendered
from workers.regeneration.conditioning import context_features
from workers.regeneration.decoder.decoder import Decoder
from workers.regeneration.decoder.linear import Precision
from workers.regeneration.delay import delay
from workers.regeneration.engine import Engine
from workers.regeneration.model import ConditionedMusicgen, Window
from workers.training.data.composition import STEMS

START, FRAMES = 100, 300
"""Of every piece: from 2 s on, 6 s."""

SILENT = 1e-3


def window_of(engine: Engine, pieces: Sequence[Rendered]) -> tuple[Window, Tensor]:
    """The pieces whose part sounds, as candidates of a window; their codes int64 [B, K, F].

    Raises:
        ValueError: none sounds.
    """
    config, rate = engine.generator.config, engine.sample_rate
    seen = slice(START - config.margin, START + FRAMES + config.margin)
    features, codes, styles = [], [], []
    for piece in pieces:
        part = piece.piece.stem(config.part, rate, mono=True)
        hop = rate // 50
        inside = part[START * hop : (START + FRAMES) * hop]
        if float(np.sqrt(np.mean(np.square(inside)))) < SILENT:
            continue
        others = [name for name in STEMS if name != config.part]
        context = sum(piece.piece.stem(name, rate, mono=True) for name in others)
        heard = context_features(torch.from_numpy(np.asarray(context, np.float32))[None], rate)
        features.append(heard[0, :, seen])
        codes.append(engine.codec.encode(torch.from_numpy(part)[None, None])[0])
        style = piece.piece.meta["style"]
        styles.append(config.styles.index(style) if style in config.styles else len(config.styles))
    if not codes:
        raise ValueError(f"{config.part} is silent in all held-out pieces")
    count = len(codes)
    wanted = torch.stack([each[:, START : START + FRAMES] for each in codes])
    window = Window(
        features=torch.stack(features),
        present=torch.ones(count, FRAMES + 2 * config.margin),
        style=torch.tensor(styles),
        controls=torch.tensor(config.untold, dtype=torch.int64).expand(count, -1),
        kept_codes=torch.zeros_like(wanted),
        kept_mask=torch.zeros(count, FRAMES, dtype=torch.bool),
    )
    return window, wanted


@torch.inference_mode()
def cross_entropies(
    model: ConditionedMusicgen, window: Window, codes: Tensor, precision: Precision
) -> Tensor:
    """Nats of every cell, float32 [B, K, F], step by step through our decoder."""
    config, rows = model.config, len(codes)
    condition = model.condition(window)
    columns = delay(codes, config.padding)
    decoder = Decoder(model.decoder, rows, precision)
    cache = decoder.cache(condition.prefix.shape[1] + columns.shape[2])
    block = cache.take(rows)
    added = functional.pad(condition.additive, (0, 0, 0, config.codebooks))
    embedded = decoder.embed(columns.transpose(1, 2)) + added[:, : columns.shape[2]]
    cells = torch.zeros(codes.shape)
    states = decoder.read(
        cache, block, torch.cat([condition.prefix.to(embedded.dtype), embedded[:, :1]], dim=1)
    )
    for column in range(1, columns.shape[2]):
        scores = decoder.logits(states)[:, :, None]
        heard = states[:, None].float()
        scores = model.with_intervals(scores, heard, condition.roots, column - 1)[:, :, 0]
        for k in range(config.codebooks):
            frame = column - 1 - k
            if 0 <= frame < codes.shape[2]:
                cells[:, k, frame] = functional.cross_entropy(
                    scores[:, k], codes[:, k, frame], reduction="none"
                )
        if column + 1 < columns.shape[2]:
            states = decoder.step(cache, [block], embedded[:, column])
    return cells
