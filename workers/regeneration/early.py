"""The sound of a part while it is still being made.

What is heard early is the first candidate, as far as its codes are known for good: all frames up to
the first that is missing, less what the codec must see behind them. Whether that candidate is also
the one that is chosen nobody knows yet.
"""

from collections.abc import Callable
from itertools import count

import torch
from torch import Tensor

from workers.regeneration.codecs import Codec

Listen = Callable[[int, Tensor], bool]
"""Told the first sample of a piece in the part, and the piece, float32 [1, T] at the codec's rate;
answers whether it wants to hear more.

Pieces come in order, without gaps, in the thread of the job; what it raises ends the job."""

FIRST_PIECE_S = 2.0
GROWTH = 1.25
LONGEST_PIECE_S = 8.0


def piece_seconds(number: int) -> float:
    """How long the piece of this number is; each is made while those before it are heard."""
    return min(LONGEST_PIECE_S, FIRST_PIECE_S * GROWTH**number)


class EarlySound:
    """Decodes what is known of a part, piece by piece.

    Args:
        codec: of the part.
        samples: of the whole part.
        listen: who hears it.
    """

    def __init__(self, codec: Codec, samples: int, listen: Listen) -> None:
        self._codec, self._samples, self._listen = codec, samples, listen
        self._heard, self._wants_more = 0, True
        self._pieces = (round(piece_seconds(n) * codec.frame_rate) for n in count())
        self._next = next(self._pieces)

    def look(self, codes: Tensor, known: int) -> None:
        """Let all be heard that there is enough of.

        Args:
            codes: int64 [K, F], of the first candidate.
            known: frames from the start that will not change.
        """
        whole = codes.shape[1]
        while self._wants_more and self._heard < whole:
            end = min(self._heard + self._next, whole)
            sure = known if known >= whole else known - self._codec.margin
            if end > sure:
                return
            seen = codes[None, :, :known]
            audio = self._codec.decode_span(seen, self._heard, end)[0]
            first = self._heard * self._codec.hop
            audio = audio[:, : self._samples - first]
            if not bool(torch.isfinite(audio).all()):
                raise ArithmeticError("the codec decoded samples that are not finite")
            self._heard, self._next = end, next(self._pieces)
            if not self._listen(first, audio):
                self._wants_more = False
