"""Permits for the tests of the workers' own functions (the gate's tests are elsewhere)."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

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
