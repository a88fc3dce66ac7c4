"""Permits for the tests of the workers' own functions (the gate's tests are elsewhere)."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import av
import av.filter
import numpy as np
import pytest
from numpy.typing import NDArray

from service.permit import Permit, Purpose


@pytest.fixture
def permit_for() -> Callable[..., Permit]:
    def make(
        stage: str,
        checkpoints: dict[str, str] | None = None,
        *,
        purpose: Purpose = "remix",
        track_id: str = "trk_1",
        seconds: float = 600.0,
    ) -> Permit:
        return Permit(
            purpose=purpose,
            stage=stage,
            track_id=track_id,
            subject="artist",
            job_id="job_1",
            token_id="jti_1",
            grant_id="grt_1",
            generation=1,
            checkpoints=checkpoints or {},
            valid_until=datetime.now(UTC) + timedelta(seconds=seconds),
        )

    return make


@pytest.fixture
def ebur128() -> Callable[[NDArray[np.float32]], tuple[float, float]]:
    """FFmpeg's own meter: integrated loudness (LUFS) and true peak (dBTP) at 44.1 kHz."""

    def measure(samples: NDArray[np.float32]) -> tuple[float, float]:
        graph = av.filter.Graph()
        layout = "stereo" if len(samples) == 2 else "mono"
        source = graph.add_abuffer(format="fltp", sample_rate=44_100, layout=layout)
        meter = graph.add("ebur128", "peak=true:metadata=1:framelog=quiet")
        sink = graph.add("abuffersink")
        source.link_to(meter)
        meter.link_to(sink)
        graph.configure()
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", layout)
        frame.sample_rate = 44_100
        graph.push(frame)
        graph.push(None)
        loudness, peaks = -math.inf, []
        while True:
            try:
                found = graph.pull().metadata
            except (av.error.EOFError, av.error.BlockingIOError):
                return loudness, 20 * math.log10(max(peaks))
            loudness = float(found.get("lavfi.r128.I", loudness))
            peaks += [
                float(value)
                for key, value in found.items()
                if key.startswith("lavfi.r128.true_peaks_ch")
            ]

    return measure
