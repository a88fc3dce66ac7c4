"""The schedule that both codecs share: first without quantisation, then k-means, then restarts."""

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from .loop import Recipe
from .rvq import Quantiser
from .stems import Batch

CONTINUOUS = 0.2
"""Share of the steps without quantisation."""


class QuantisedRecipe(Recipe):
    """A recipe whose latent is quantised after the first fifth of the steps."""

    quantiser: Quantiser

    @abstractmethod
    def latent(self, audio: Tensor) -> Tensor:
        """float [B, 1, T] to float [B, F, D]."""

    def prepare(self, step: int, steps: int, draw: Callable[[int], Batch]) -> None:
        """Start the codebooks when their time comes, and move dead entries now and then."""
        begin = int(CONTINUOUS * steps)
        if step == begin:
            self.quantiser.start(torch.cat([self.latent(draw(i).audio) for i in range(4)]))
        elif begin < step < 0.9 * steps and (step - begin) % 40 == 0:
            self.quantiser.restart_dead(self.latent(draw(0).audio))

    def quantised(self, latent: Tensor, step: int, steps: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The latent as the decoder sees it at this step, and the quantiser's terms."""
        if step < int(CONTINUOUS * steps):
            return latent, {}
        quantised, penalty = self.quantiser(latent)
        return quantised, {"penalty": penalty}
