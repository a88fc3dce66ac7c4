"""Splicing: redone bars inside a stem that otherwise stays as it was recorded.

Outside the redone spans and their fades the result is the original, sample by sample: kept bars
are never the codec's copy of themselves.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.permit import Permit
from workers.audio import Audio

FADE_SECONDS = 0.05

Spans = Sequence[tuple[float, float]]
"""Start and end of each redone span in seconds."""

Samples = NDArray[np.float32]


def splice(permit: Permit, original: Audio, made: Audio, redone: Spans) -> Audio:
    """The original, with what was made in the redone spans.

    Every fade lies BEFORE its border: the last 50 ms of a kept bar pass into the made version of
    the very same bar, and the last 50 ms of a redone one into the original, so that the first beat
    after a border sounds whole, whoever plays it. Kept stretches shorter than two fades are redone
    with what is around them. Gains keep the power: the less alike the two are, the more they are
    those of an equal-power fade; for equal sounds they add to one.

    :param original: the stem as it was, any number of channels.
    :param made: the whole part at the same rate, in as many channels and samples.
    :param redone: spans in seconds, in any order.
    :returns: audio of the original's length; the original itself where no span reaches it.
    :raises ValueError: the two differ in rate, channels or length.
    """
    permit.require(permit.stage)
    if (original.sample_rate, original.samples.shape) != (made.sample_rate, made.samples.shape):
        raise ValueError(
            f"the part has {list(made.samples.shape)} samples at {made.sample_rate} Hz, "
            f"the original {list(original.samples.shape)} at {original.sample_rate} Hz"
        )
    return Audio(
        spliced(original.samples, made.samples, original.sample_rate, redone),
        original.sample_rate,
    )


def spliced(original: Samples, made: Samples, sample_rate: int, redone: Spans) -> Samples:
    """The samples of :func:`splice`, float32 [channels, time] both."""
    fade, frames = round(FADE_SECONDS * sample_rate), original.shape[1]
    result = original.copy()
    for start, end in _borders(redone, sample_rate, frames, fade):
        first, last = max(0, start - fade), end if end == frames else end - fade
        _fade(original, made, result, first, start)
        result[:, start:last] = made[:, start:last]
        _fade(made, original, result, last, end)
    return result


def _borders(redone: Spans, sample_rate: int, frames: int, fade: int) -> list[tuple[int, int]]:
    """Redone spans in samples, sorted, those with less than two fades between them joined."""
    inside = sorted(
        (max(0, round(start * sample_rate)), min(frames, round(end * sample_rate)))
        for start, end in redone
    )
    joined: list[tuple[int, int]] = []
    for start, end in inside:
        # A border that has no room for its fade lies at the song's own beginning or end.
        start, end = (0 if start < fade else start), (frames if frames - end < fade else end)
        if end - start < 2 * fade:
            continue
        if joined and start - joined[-1][1] < 2 * fade:
            start, end = joined[-1][0], max(end, joined.pop()[1])
        joined.append((start, end))
    return joined


def _fade(before: Samples, after: Samples, into: Samples, first: int, end: int) -> None:
    """Write the passage from one sound to the other over ``first`` up to ``end``."""
    if first == end:
        return
    a, b = before[:, first:end], after[:, first:end]
    angle = (np.arange(end - first) + 0.5) / (end - first) * (np.pi / 2)
    out, rise = np.cos(angle), np.sin(angle)
    power = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    likeness = max(0.0, float(np.vdot(a, b)) / power) if power > 0 else 0.0
    # Power of a sum of two sounds of equal power and this likeness.
    scale = 1 / np.sqrt(1 + 2 * likeness * out * rise)
    into[:, first:end] = a * (out * scale) + b * (rise * scale)
