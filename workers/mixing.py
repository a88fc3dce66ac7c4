"""Mixing: the new part joins the stems that stayed.

The part is brought to the song's rate, channels, length and to the loudness of the stem that it
replaces. The kept stems are added as they are, in float32 and in the order of their names, and
nothing touches the sum unless it would exceed the ceiling.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from python_stretch.Signalsmith import Stretch
from scipy.ndimage import minimum_filter1d
from scipy.signal import get_window, oaconvolve

from service.ingestion.refusals import StemsDisagree
from service.permit import Permit
from workers.audio import Audio, integrated_loudness, peak_blocks, resample
from workers.splicing import Spans, splice

CEILING_DBTP = -1.0
# The limiter aims this much lower: its moving gain may add a little between the samples.
HEADROOM_DB = 0.05
LOOK_AHEAD_SECONDS = 0.03
# A stem quieter than this is silent: there is no loudness to match.
SILENT_LUFS = -60.0
# Where the replaced stem is silent, the part lies this far below the stems that stayed.
DEFAULT_OFFSET_LU = -8.0
LARGEST_GAIN_DB = 24.0
_STRETCH_SEED = 1


def mix(
    permit: Permit,
    kept: Mapping[str, Audio],
    part: Audio,
    replaced: Audio,
    redone: Spans | None = None,
) -> Audio:
    """The remix: the sum of the kept stems, then the fitted part, limited to -1 dBTP.

    :param kept: the stems that stay, of one rate, channel count and length; at least one.
    :param part: the new part, at any rate, mono or of the stems' channels; its first sample is the
        song's first.
    :param replaced: the stem that the part stands in for. Its loudness is used, and where only
        some spans of it are redone, all its other samples.
    :param redone: the spans of the part that are new, in seconds of the remix; ``None``: all.
    :returns: audio of exactly the kept stems' length. Below the ceiling it equals
        `add(kept) + fit_part(…)` bit for bit, or `add(kept) + splice(replaced, fit_part(…))`.
    :raises StemsDisagree: the kept stems differ in format, or there is none.
    """
    permit.require("mix")
    bed = add(permit, kept)
    fitted = fit_part(permit, bed, part, replaced)
    if redone is not None:
        fitted = splice(permit, replaced, fitted, redone)
    return limit(permit, Audio(bed.samples + fitted.samples, bed.sample_rate))


def add(permit: Permit, stems: Mapping[str, Audio]) -> Audio:
    """The float32 sum of stems in the order of their names; raises `StemsDisagree`."""
    permit.require(permit.stage)
    if not stems:
        raise StemsDisagree("there is no stem to add")
    names = sorted(stems)
    first = stems[names[0]]
    for name in names[1:]:
        stem = stems[name]
        if (stem.sample_rate, stem.samples.shape) != (first.sample_rate, first.samples.shape):
            raise StemsDisagree(
                f"{name} has {stem.frames} samples of {stem.channels} channels at "
                f"{stem.sample_rate} Hz, {names[0]} has {first.frames} of {first.channels} at "
                f"{first.sample_rate} Hz"
            )
    total = first.samples.copy()
    for name in names[1:]:
        total += stems[name].samples
    return Audio(total, first.sample_rate)


def fit_part(permit: Permit, bed: Audio, part: Audio, replaced: Audio) -> Audio:
    """The part at the bed's rate, channels and length, and at the replaced stem's loudness.

    Integrated loudness (LUFS) is matched by one gain, of at most ±24 dB. If the replaced stem is
    silent, the part is set 8 LU below the bed; if the part is silent, it stays so.
    """
    permit.require("mix")
    placed = resample(permit, part, bed.sample_rate).samples
    if placed.shape[0] == 1 and bed.channels > 1:
        placed = np.repeat(placed, bed.channels, axis=0)
    if placed.shape[0] != bed.channels:
        raise StemsDisagree(f"the part has {placed.shape[0]} channels, the song {bed.channels}")
    fitted = np.zeros((bed.channels, bed.frames), dtype=np.float32)
    count = min(bed.frames, placed.shape[1])
    fitted[:, :count] = placed[:, :count]
    gain = gain_db(permit, bed, Audio(fitted, bed.sample_rate), replaced)
    fitted *= np.float32(10 ** (gain / 20))
    return Audio(fitted, bed.sample_rate)


def gain_db(permit: Permit, bed: Audio, part: Audio, replaced: Audio) -> float:
    """By how much a part is raised to the replaced stem's loudness; see `fit_part`."""
    loudness = integrated_loudness(permit, part)
    if loudness < SILENT_LUFS:
        return 0.0
    target = integrated_loudness(permit, replaced)
    if target < SILENT_LUFS:
        target = integrated_loudness(permit, bed) + DEFAULT_OFFSET_LU
    if target < SILENT_LUFS:
        return 0.0
    return min(LARGEST_GAIN_DB, max(-LARGEST_GAIN_DB, target - loudness))


def limit(permit: Permit, audio: Audio, ceiling_dbtp: float = CEILING_DBTP) -> Audio:
    """The audio with a true peak of at most `ceiling_dbtp`; below that, the very same samples.

    A look-ahead limiter with zero phase: the gain each sample needs (BS.1770-4 true peak), its
    running minimum, smoothed by a window of the same reach. The smoothed gain is nowhere above the
    needed one, and moves too slowly (60 ms) to be heard as distortion.
    """
    permit.require("mix", "stamp")
    ceiling = np.float32(10 ** (ceiling_dbtp / 20))
    peaks = np.concatenate([np.zeros(0, np.float32), *peak_blocks(audio.samples)])
    if peaks.max(initial=0.0) <= ceiling:
        return audio
    aim = ceiling * np.float32(10 ** (-HEADROOM_DB / 20))
    gain = _smoothed(np.minimum(1.0, aim / np.maximum(peaks, aim)), audio.sample_rate)
    limited = Audio(audio.samples * gain, audio.sample_rate)
    highest = max(float(block.max()) for block in peak_blocks(limited.samples))
    if highest > ceiling:
        # A hair less, so that rounding in float32 does not lift it over the ceiling again.
        limited.samples[...] *= np.float32(0.9999 * ceiling / highest)
    return limited


def _smoothed(needed: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    reach = round(LOOK_AHEAD_SECONDS * sample_rate)
    lowest = minimum_filter1d(needed, 2 * reach + 1, mode="nearest")
    window = get_window("hann", 2 * reach + 1, fftbins=False)
    window /= window.sum()
    padded = np.pad(lowest.astype(np.float64), reach, mode="edge")
    smooth = oaconvolve(padded, window, mode="valid")
    # The transform's rounding may pass the needed gain by a hair.
    return np.minimum(smooth, needed).astype(np.float32)


def stretch(permit: Permit, audio: Audio, tempo_percent: float, key_semitones: float) -> Audio:
    """The audio at another tempo and in another key (Signalsmith Stretch, seeded).

    Applied to every stem of a song alike, it keeps them together to the sample. Without a change
    it returns its argument, untouched.

    :param tempo_percent: +10 plays 10 % faster; above -100.
    :returns: audio of `stretched_frames(audio.frames, tempo_percent)` samples.
    """
    permit.require(permit.stage)
    if tempo_percent == 0 and key_semitones == 0:
        return audio
    engine = Stretch(_STRETCH_SEED)
    engine.preset(audio.channels, audio.sample_rate)
    engine.setTimeFactor(1 + tempo_percent / 100)
    engine.setTransposeSemitones(key_semitones)
    changed = np.asarray(engine.process(np.ascontiguousarray(audio.samples)), dtype=np.float32)
    fitted = np.zeros(
        (audio.channels, stretched_frames(audio.frames, tempo_percent)), dtype=np.float32
    )
    count = min(fitted.shape[1], changed.shape[1])
    fitted[:, :count] = changed[:, :count]
    return Audio(fitted, audio.sample_rate)


def stretched_frames(frames: int, tempo_percent: float) -> int:
    """The length in samples after a change of tempo."""
    return math.floor(frames / (1 + tempo_percent / 100) + 0.5)
