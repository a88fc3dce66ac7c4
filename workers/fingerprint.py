"""Fingerprint: a track's audio, measured as landmarks (see `service.recognition`)."""

from service.permit import Permit
from service.recognition.landmarks import RATE, Landmarks
from service.recognition.measuring import measure
from workers.audio import Audio, resample


def fingerprint(permit: Permit, audio: Audio) -> Landmarks:
    """The landmarks of a recording, sorted and each once; none for silence."""
    permit.require("ingest", "stamp")
    mono = Audio(audio.samples.mean(axis=0, keepdims=True), audio.sample_rate)
    return measure(resample(permit, mono, RATE).samples[0])
