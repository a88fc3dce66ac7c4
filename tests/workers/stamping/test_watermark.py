"""The mark of a job on its master: whose it is, what it may do, and what the credential says."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from service.permit import Permit, PermitDenied
from service.settings import Settings
from service.watermark.detection import detect
from service.watermark.key import load_key
from service.watermark.layout import METHOD
from service.watermark.payload import payload_of
from tests.watermark_music import RATE, music
from workers.audio import Audio, true_peak
from workers.mixing import CEILING_DBTP, limit
from workers.stamping import SoftBinding
from workers.stamping.watermark import soft_binding, watermark

PermitFor = Callable[..., Permit]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("REPRISE_WATERMARK_KEY", raising=False)
    return Settings(home=tmp_path)


@pytest.fixture
def mix() -> Audio:
    # Over full scale: the limiter has work to do.
    return Audio(music(8.0) * np.float32(2.5), RATE)


def test_the_master_carries_its_job_s_payload(
    permit_for: PermitFor, mix: Audio, settings: Settings
) -> None:
    permit = permit_for("stamp")
    marked = limit(permit, watermark(permit, mix, "job_1", settings))
    found = detect(marked.samples, marked.sample_rate, load_key(settings))
    assert found is not None
    assert found.payload == payload_of("job_1")
    assert marked.samples.shape == mix.samples.shape
    assert true_peak(permit, marked) <= CEILING_DBTP + 1e-3


def test_the_same_job_gives_the_same_samples(
    permit_for: PermitFor, mix: Audio, settings: Settings
) -> None:
    permit = permit_for("stamp")
    first, second = (watermark(permit, mix, "job_1", settings).samples for _ in range(2))
    assert np.array_equal(first, second)


def test_only_the_permit_of_this_job_s_stamp_marks(
    permit_for: PermitFor, mix: Audio, settings: Settings
) -> None:
    with pytest.raises(PermitDenied):
        watermark(permit_for("mix"), mix, "job_1", settings)
    with pytest.raises(ValueError, match="another job"):
        watermark(permit_for("stamp"), mix, "job_2", settings)


def test_the_credential_names_method_and_payload() -> None:
    binding = soft_binding("job_1")
    assert binding == SoftBinding(METHOD, payload_of("job_1").to_bytes(6, "big"))
    assert METHOD == "org.reprise.watermark.1"
