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


_GAIN = 10.0
"""Adam moves every weight alike; these few, heard where a note begins, have to move further."""


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


class Intervals(nn.Module):
    """Scores of pitches by their interval over the root that is heard, from a decoder's state.

    The state says which interval (the root itself, the fifth …), the root says where that lies: a
    line learned over one chord can be played over all. It begins at zero.

    Args:
        width: of the decoder's states.
        codes: of the codebook of pitches.
        lowest: MIDI note of code 1.
        pitches: how many quarter tones from there; other codes have no pitch.
    """

    classes: Tensor

    def __init__(self, width: int, codes: int, lowest: float, pitches: int) -> None:
        super().__init__()
        self.choice = nn.Linear(width, PITCH_CLASSES)
        nn.init.zeros_(self.choice.weight)
        nn.init.zeros_(self.choice.bias)
        quarter_tones = round(2 * lowest) + torch.arange(-1, codes - 1)
        semitones = torch.stack([quarter_tones // 2, (quarter_tones + 1) // 2])
        classes = semitones % PITCH_CLASSES
        classes[:, 0] = PITCH_CLASSES
        classes[:, 1 + pitches :] = PITCH_CLASSES
        self.register_buffer("classes", classes, persistent=False)

    def forward(self, hidden: Tensor, roots: Tensor) -> Tensor:
        """Scores [B, S, codes] from states [B, S, width] and root likelihoods [B, S, 12].

        A quarter tone between two pitch classes has the mean of their scores.
        """
        chosen = _GAIN * self.choice(hidden)
        above = torch.stack([roots.roll(step, dims=-1) for step in range(PITCH_CLASSES)], dim=-2)
        by_class = functional.pad((chosen[..., None] * above).sum(dim=-2), (0, 1))
        return (by_class[..., self.classes[0]] + by_class[..., self.classes[1]]) / 2


def _around(x: Tensor) -> Tensor:
    """[B, C, 12, F] with its pitch classes once more but the last, as the kernel wraps around."""
    return torch.cat([x, x[:, :, :-1]], dim=2)
