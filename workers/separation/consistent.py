"""HDemucs whose stems add up to the mixture, bin by bin.

Wisdom et al., Differentiable Consistency Constraints for Improved Deep Speech Enhancement (2019):
what the estimates leave of the mixture is shared out in proportion to their magnitudes.
"""

import torch
from demucs.hdemucs import HDemucs

SILENCE = 1e-8


class ConsistentHDemucs(HDemucs):
    """A frequency-only, magnitude HDemucs with the constraint; it adds no weights.

    Raises:
        ValueError: the arguments ask for a time branch, for complex estimates or for Wiener
            filtering, where magnitudes do not add up.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        if self.hybrid or self.cac or max(self.wiener_iters, self.end_iters) >= 0:
            raise ValueError("consistency takes hybrid=False, cac=False and no Wiener iterations")

    def _mask(self, z: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        """Spectra complex [B, S, C, F, T] from the mixture's [B, C, F, T] and magnitudes `m`."""
        weight = m.abs() + SILENCE
        share = weight / weight.sum(dim=1, keepdim=True)
        residual = z.abs()[:, None] - m.sum(dim=1, keepdim=True)
        spectra: torch.Tensor = super()._mask(z, m + share * residual)
        return spectra
