"""The schedule that both codecs share.

A seventh of the steps without quantisation, then k-means and restarts of dead codes. Half way,
encoder and codebooks are fixed and the decoder goes on alone, in the last third against a
discriminator. Codes exported from half way on stay valid until the run's end, so that a generator
need not wait for it.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workers.regeneration.codecs import Codec

from .adversarial import Adversary
from .loop import Recipe
from .rvq import Quantiser
from .stems import Batch

CONTINUOUS = 0.15
"""Share of the steps without quantisation."""

FIXED = 0.5
"""Share of the steps after which codes no longer change."""

ADVERSARIAL = 2 / 3
"""Share of the steps after which the discriminator takes part."""

START_BATCHES, RESTART_BATCHES = 10, 3
"""Batches that k-means starts on, and that dead codes are moved onto."""

SECOND_RATE = 0.5
"""Peak learning rate of the second half, as a share of the first's."""


def fixed_from(steps: int) -> int:
    """The first step at which encoder and codebooks are fixed."""
    return math.ceil(FIXED * steps)


def adversarial_from(steps: int) -> int:
    """The first step with the discriminator."""
    return math.ceil(ADVERSARIAL * steps)


@dataclass(frozen=True)
class Resynthesis:
    """`audio` and what was `made` of it, float32 [B, 1, T]; `terms` of the loss beside the sound"""

    audio: Tensor
    made: Tensor
    terms: dict[str, Tensor]


class QuantisedRecipe(Recipe):
    """A recipe that follows the schedule above.

    Args:
        model: the codec; its own `tables` are written by `codec` alone.
        quantiser: what learns them.
        weights: of the spectral terms, by name.
        shares: of the gradient, for the same terms, once it is balanced.
    """

    def __init__(
        self,
        model: Codec,
        quantiser: Quantiser,
        weights: dict[str, float],
        shares: dict[str, float],
        amp: bool,
    ) -> None:
        super().__init__()
        self.model = model
        self.quantiser = quantiser
        self.weights = weights
        self.adversary = Adversary(shares)
        self.amp = amp

    @abstractmethod
    def latent(self, audio: Tensor) -> Tensor:
        """float [B, 1, T] to float [B, F, D]."""

    @abstractmethod
    def resynthesis(self, batch: Batch, step: int, steps: int) -> Resynthesis:
        """A batch through the codec as it stands at this step."""

    @abstractmethod
    def spectral(self, made: Tensor, audio: Tensor) -> dict[str, Tensor]:
        """How far `made` is from `audio`: the terms that `weights` names."""

    def parameters_learned(self) -> Iterator[nn.Parameter]:
        """All but the discriminator's, which has an optimiser of its own."""
        for name, parameter in self.named_parameters():
            if not name.startswith("adversary."):
                yield parameter

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """The discriminator's."""
        return {"discriminator": self.adversary.optimiser}

    def rate(self, step: int, steps: int) -> float:
        """Cosine to a fiftieth before the codes are fixed, and again after."""
        begin = fixed_from(steps)
        if step < begin:
            return super().rate(step, begin)
        peak = SECOND_RATE * self.learning_rate
        return peak / self.learning_rate * super().rate(step - begin, max(1, steps - begin))

    def prepare(self, step: int, steps: int, draw: Callable[[int], Batch]) -> None:
        """Start the codebooks when their time comes, move dead entries now and then, fix all."""
        begin, fixed = int(CONTINUOUS * steps), fixed_from(steps)
        if step == begin:
            drawn = range(START_BATCHES)
            self.quantiser.start(torch.cat([self.latent(draw(i).audio) for i in drawn]))
        elif begin < step < 0.9 * fixed and (step - begin) % 40 == 0:
            drawn = range(RESTART_BATCHES)
            self.quantiser.restart_dead(torch.cat([self.latent(draw(i).audio) for i in drawn]))
        if step >= fixed:
            self._fix()

    def _fix(self) -> None:
        """Encoder and codebooks as they are exported, for good."""
        tables = self.quantiser.tables()
        self.model.get_buffer("tables").copy_(tables.half().float())
        for name, parameter in self.model.named_parameters():
            if self.model.is_encoding(name):
                parameter.copy_(parameter.half().float())
                parameter.requires_grad_(False)

    def quantised(self, latent: Tensor, step: int, steps: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The latent as the decoder sees it before codes are fixed, and the quantiser's terms."""
        if step < int(CONTINUOUS * steps):
            return latent, {}
        quantised, penalty = self.quantiser(latent)
        return quantised, {"penalty": penalty}

    def learn(self, batch: Batch, step: int, steps: int) -> dict[str, Tensor]:
        """Gradients of this step; the discriminator takes its own."""
        passed = self.resynthesis(batch, step, steps)
        spectral = self.spectral(passed.made, passed.audio)
        if step >= adversarial_from(steps):
            return self.adversary.backward(spectral, passed.made, passed.audio, self.amp)
        weighted = [self.weights[name] * term for name, term in spectral.items()]
        torch.stack([*weighted, *passed.terms.values()]).sum().backward()
        return {name: t.detach() for name, t in {**passed.terms, **spectral}.items()}

    def codec(self) -> Codec:
        """The codec as served."""
        codec = self.blank()
        codec.load_state_dict({**self.model.state_dict(), "tables": self.quantiser.tables()})
        return codec.eval()

    @abstractmethod
    def blank(self) -> Codec:
        """An untrained codec of the same sizes."""
