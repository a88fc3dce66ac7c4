"""What a remix sounds like as far as its new part is known."""

from collections.abc import Callable

import numpy as np
import soxr
from numpy.typing import NDArray

from service.permit import Permit
from service.watermark.layout import PERIOD_SECONDS
from workers.audio import Audio, integrated_loudness
from workers.mixing import SILENT_LUFS, gain_db
from workers.splicing import Spans, splice

AHEAD_SECONDS = 0.1
"""What lies this close behind a sample may still change it: fades of a splice, the limiter."""


class ExcerptMix:
    """The beginning of a remix, which grows with its part.

    The new part has one gain, found when it is first heard: the whole mix finds its own, by the
    whole part's loudness.

    Args:
        permit: of stage ``regenerate``.
        bed: the sum of the stems that stay, from the song's beginning on, as much as will be heard.
        replaced: gives the stem that the part stands in for; asked once, when the part is heard.
        part_rate: Hz.
        redone: spans of the part that are new, in seconds; ``None``: all of it.
    """

    def __init__(
        self,
        permit: Permit,
        bed: Audio,
        replaced: Callable[[], Audio],
        part_rate: int,
        redone: Spans | None,
    ) -> None:
        permit.require("regenerate")
        self._bed, self._find_replaced, self._redone = bed, replaced, redone
        self._replaced: NDArray[np.float32] | None = None
        self._part = np.zeros((1, 0), np.float32)
        self._gain: np.float32 | None = None
        rate = bed.sample_rate
        self._resampler = (
            None
            if part_rate == rate
            else soxr.ResampleStream(part_rate, rate, 1, dtype="float32", quality="VHQ")
        )
        self._period = round(PERIOD_SECONDS * rate)
        self._ahead = round(AHEAD_SECONDS * rate)

    def hear(self, piece: NDArray[np.float32], *, last: bool) -> int:
        """Add what follows of the part; gives how many samples of the mix will not change.

        Args:
            piece: float32 [1, T] at the part's rate.
            last: whether the part ends with it.
        """
        if self._resampler is not None:
            piece = self._resampler.resample_chunk(piece[0], last=last)[None]
        self._part = np.concatenate([self._part, piece], axis=1)
        known = min(self._part.shape[1], self._bed.frames)
        return known if last else max(0, known - self._ahead)

    def window(self, permit: Permit, start: int) -> tuple[Audio, int]:
        """The mix around sample ``start`` up to what is known, and where ``start`` lies in it.

        It is not limited yet. It begins where a period of the watermark does, so that the marks of
        windows that follow each other fit.
        """
        permit.require("mix")
        end = min(self._part.shape[1], self._bed.frames)
        rate = self._bed.sample_rate
        first = max(0, start - self._ahead) // self._period * self._period
        fitted = Audio(np.repeat(self._part[:, :end], self._bed.channels, axis=0), rate)
        beside = Audio(self._beside()[:, :end], rate)
        bed = Audio(self._bed.samples[:, :end], rate)
        if self._gain is None and integrated_loudness(permit, fitted) >= SILENT_LUFS:
            self._gain = np.float32(10 ** (gain_db(permit, bed, fitted, beside) / 20))
        if self._gain is not None:
            fitted = Audio(fitted.samples * self._gain, rate)
        if self._redone is not None:
            fitted = splice(permit, beside, fitted, self._redone)
        mixed = bed.samples[:, first:] + fitted.samples[:, first:]
        return Audio(np.ascontiguousarray(mixed), rate), start - first

    def _beside(self) -> NDArray[np.float32]:
        """The replaced stem, as much of it as there is of the bed."""
        if self._replaced is None:
            # A copy: the rest of a long song is not held.
            self._replaced = self._find_replaced().samples[:, : self._bed.frames].copy()
        return self._replaced
