"""The steps of a batch at one width: who steps is numbers in tensors, not shapes.

See ``decoder/graphed.py`` for why, and for the step itself.
"""

from collections.abc import Sequence as Many

import torch

from workers.regeneration.decoder.cache import Block, KeyValues
from workers.regeneration.decoder.decoder import Decoder
from workers.regeneration.decoder.graphed import FixedStep
from workers.regeneration.drawing import Draws
from workers.regeneration.sampling import Sequence

Stepping = tuple[Sequence, Block]
"""A sequence and its rows."""


class FixedSteps:
    """Steps and draws of all who step together, at most one wait for the device in each.

    Args:
        decoder: its weights.
        cache: that the blocks are taken from.
    """

    def __init__(self, decoder: Decoder, cache: KeyValues) -> None:
        self._step = FixedStep(decoder, cache)
        self._device = decoder.device
        self._who: tuple[Sequence, ...] = ()
        self._draws: Draws | None = None
        self._rows = torch.zeros(0, dtype=torch.int64, device=decoder.device)

    @property
    def captured(self) -> bool:
        """Whether steps are CUDA graphs."""
        return self._step.captured

    def prepare(self) -> None:
        """Do now what would else be done at somebody's first step."""
        self._step.prepare()

    def join(self, block: Block) -> None:
        """A block was taken, and looks at what it was told."""
        self._step.join(block)

    def run(self, stepping: Many[Stepping]) -> list[Exception | None]:
        """One step and draw of all; what is wrong with each, in their order.

        Raises whatever the device raises; then nobody has gone on.
        """
        blocks = [block for _, block in stepping]
        who = tuple(sequence for sequence, _ in stepping)
        if self._draws is None or who != self._who:
            self._draws = None
            rows = [row for block in blocks for row in range(block.first, block.first + block.rows)]
            self._rows = torch.tensor(rows, device=self._device)
            newest = torch.cat([sequence.newest() for sequence in who])
            self._step.codes.index_copy_(0, self._rows, newest)
            draws = Draws(who, [block.first for block in blocks], self._device)
        else:
            draws, self._draws = self._draws, None
        added = torch.cat([sequence.added()[:, 0] for sequence in who]).float()
        self._step.added.index_copy_(0, self._rows, added)
        self._step.run(blocks)
        found = draws.take(self._step.states, self._step.logits, self._step.codes)
        self._step.advance(blocks)
        # Only a step that went well leaves its codes where the next one reads them.
        self._who, self._draws = who, draws
        return list(found)
