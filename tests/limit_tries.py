"""How limits are tried: many examples, and jobs that end in every way."""

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as tries

from service.auth import Principal
from service.jobs.cancel import cancel
from service.jobs.finish import finish
from service.jobs.models import JobState
from tests.jobs_house import House

ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


OPERATOR = Principal(subject="op", role="operator")


def many(examples: int) -> tries:
    """So many examples, the same ones at every run; each brings its own rows."""
    return tries(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        # Shrinking would make a story again and again; the first failure says enough.
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


def end(house: House, job_id: str, how: str) -> None:
    with house.database.transaction() as session:
        if how == "cancel":
            cancel(session, job_id)
        else:
            assert finish(session, job_id, JobState(how), how)
