"""What a codec's decoder is trained against in the last third: a discriminator, and balance.

audiocraft's parts (Défossez et al. 2022, arXiv:2210.13438), with their state where it can be
saved: its own `AdversarialLoss` keeps the optimiser inside its state dict, and its `Balancer` keeps
the running means of the gradients in a closure.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

import workers.compiled_librosa  # noqa: F401 - audiocraft imports librosa
from workers.regeneration.torchaudio_stub import make_torchaudio_importable

make_torchaudio_importable()

from audiocraft.adversarial import (  # noqa: E402
    AdversarialLoss,
    FeatureMatchingLoss,
    get_adv_criterion,
    get_fake_criterion,
    get_real_criterion,
)
from audiocraft.adversarial.discriminators import MultiScaleSTFTDiscriminator  # noqa: E402
from audiocraft.losses import Balancer  # noqa: E402

WINDOWS = (2048, 512)
"""Windows, in samples, of the spectra that the discriminator looks at."""

EXCERPT = 0.3
"""Share of each crop that it looks at: it costs several times what the codec does."""

WEIGHTS = {"adversarial": 0.05, "features": 0.1}
"""Shares of the sound's gradient, beside those of the spectral terms.

Gradients are balanced at the waveform. Those of log-spectra are noise-like there and mostly cancel
on their way into the decoder; a gradient that is smooth moves it several times as far, so that
shares a tenth as large weigh about as much (measured: 6 to 8 times as far, 40 times for what is
compared under 500 Hz).
"""


class RunningMeans(nn.Module):
    """Exponential running means by name, as flashy's `averager`, kept in one buffer."""

    sums: Tensor

    def __init__(self, names: Sequence[str], decay: float) -> None:
        super().__init__()
        self.names, self.decay = list(names), decay
        # The weighted sum of each, and the sum of its weights.
        self.register_buffer("sums", torch.zeros(len(names), 2, dtype=torch.float64))

    def __call__(self, metrics: dict[str, Any], weight: float = 1.0) -> dict[str, float]:
        """Take in new values; returns the means so far."""
        means = {}
        for name, value in metrics.items():
            row = self.sums[self.names.index(name)]
            row.mul_(self.decay).add_(row.new_tensor([weight * float(value), weight]))
            means[name] = float(row[0] / row[1])
        return means


class Adversary(nn.Module):
    """A multi-scale STFT discriminator, the losses it gives, and their balance with others.

    Args:
        spectral: shares of the other terms, by name.
        filters: of each of the discriminator's layers.
        learning_rate: of the discriminator.
    """

    def __init__(
        self, spectral: dict[str, float], filters: int = 8, learning_rate: float = 5e-4
    ) -> None:
        super().__init__()
        sizes = list(WINDOWS)
        self.discriminator = MultiScaleSTFTDiscriminator(
            filters=filters, n_ffts=sizes, win_lengths=sizes, hop_lengths=[n // 4 for n in sizes]
        )
        for weight in self.discriminator.parameters():
            if weight.ndim == 4:
                # oneDNN's convolutions with few channels are three times as fast in this order.
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        self.optimiser = torch.optim.Adam(
            self.discriminator.parameters(), lr=learning_rate, betas=(0.5, 0.9)
        )
        weights = {**spectral, **WEIGHTS}
        self.means = RunningMeans(list(weights), decay=0.999)
        self._balancer = Balancer(weights)
        self._balancer.averager = self.means
        loss = AdversarialLoss(
            self.discriminator,
            self.optimiser,
            loss=get_adv_criterion("hinge"),
            loss_real=get_real_criterion("hinge"),
            loss_fake=get_fake_criterion("hinge"),
            loss_feat=FeatureMatchingLoss(),
        )
        # In a tuple, so that the module is not registered: its state dict holds no tensors alone.
        self._loss = (loss,)

    def backward(
        self, spectral: dict[str, Tensor], made: Tensor, real: Tensor, amp: bool
    ) -> dict[str, Tensor]:
        """One step of the discriminator, then the balanced gradient for whatever made `made`.

        Args:
            spectral: terms that depend on `made`, not weighted.
            made: float32 [B, 1, T], in the graph.
            real: float32 [B, 1, T].
            amp: run the discriminator in bfloat16.

        Returns:
            all terms and the norm of the discriminator's gradient, detached.
        """
        (loss,) = self._loss
        length = int(EXCERPT * made.shape[2])
        first = int(torch.randint(made.shape[2] - length + 1, ()))
        false, true = (x[..., first : first + length] for x in (made, real))
        with torch.autocast(made.device.type, dtype=torch.bfloat16, enabled=amp):
            verdict = loss.train_adv(false, true)
            gradients = [p.grad for p in self.discriminator.parameters() if p.grad is not None]
            norm = torch.stack([g.norm() for g in gradients]).norm()
            adversarial, features = loss(false, true)
        terms = {**spectral, "adversarial": adversarial, "features": features}
        self._balancer.backward(terms, made)
        return {
            **{name: term.detach() for name, term in terms.items()},
            "discriminator": verdict.detach(),
            "discriminator gradient": norm,
        }
