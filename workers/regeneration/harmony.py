"""Chord roots heard in the stems that stay: what a bass player listens for first.

A chord is recognised in the same way in every key, so the convolutions here wrap around the twelve
pitch classes: one that has learned a chord on C knows it on all others. Without it a small
generator would have to learn each of the twelve for itself.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

PITCH_CLASSES = 12
POOLED = 4
"""Frames heard as one, 80 ms: chroma hardly changes within that (see ``conditioning.py``)."""


class RootFinder(nn.Module):
    """How likely each pitch class is the root of the chord, frame by frame.

    Args:
        channels: kinds of chord that it can tell apart.
    """

    def __init__(self, channels: int = 24) -> None:
        super().__init__()
        self.chords = nn.Conv2d(1, channels, (PITCH_CLASSES, 5), padding=(0, 2))
        self.movement = nn.Conv2d(channels, channels, (PITCH_CLASSES, 1))
        self.around = nn.Conv2d(channels, channels, (1, 9), padding=(0, 4), groups=channels)
        self.root = nn.Conv2d(channels, 1, 1)

    def forward(self, chroma: Tensor) -> Tensor:
        """Logits [B, 12, F] over the pitch classes (C first) of chroma [B, 12, F] at 50 Hz."""
        pooled = functional.avg_pool1d(chroma, POOLED, ceil_mode=True)[:, None]
        x = functional.gelu(self.chords(_around(pooled)))
        x = functional.gelu(x + self.movement(_around(x)))
        x = functional.gelu(x + self.around(x))
        logits = self.root(x)[:, 0].repeat_interleave(POOLED, dim=-1)
        return logits[..., : chroma.shape[-1]]


def _around(x: Tensor) -> Tensor:
    """[B, C, 12, F] with its pitch classes once more but the last, as the kernel wraps around."""
    return torch.cat([x, x[:, :, :-1]], dim=2)
