"""Whatever is sent, the answer is one that the OpenAPI document names, and never a server error.

Requests are generated from the document itself, fitting it and breaking it; the callers are real.
(Uploads, the event stream and verification take no JSON and have tests of their own.)
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.app import create_app
from service.auth import Principal, ServiceKeys
from service.database import Database
from service.migrations import migrate
from service.settings import Settings
from tests.cards import write_cards
from tests.stories import Story

MANY = 30
CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """One application's world, with a signed grant in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPRISE_CARDS", str(write_cards(tmp_path_factory.mktemp("cards"))))
        home: Path = tmp_path_factory.mktemp("fuzz")
        chosen = Settings(home=home)
        database = Database(chosen.database)
        migrate(database)
        told = Story(database=database, settings=chosen, keys=ServiceKeys.load(chosen))
        told.granted()
        yield told
        database.dispose()


@pytest.fixture(scope="module")
def client(story: Story) -> Iterator[TestClient]:
    with TestClient(create_app(story.settings), raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture(scope="module")
def document(client: TestClient) -> Any:
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    schema.config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
    schema.app = client.app
    apart = "^/(readyz|metrics|healthz|v1/verify)|/(events|audio)$|/stems/"
    return schema.exclude(path_regex=apart)


def test_no_request_breaks_the_service(document: Any, story: Story) -> None:
    callers = [
        story.headers(who)
        for who in (Principal("fuzz", "operator"), Principal("fuzz", "listener", "DE"))
    ]
    tried = 0
    for operation in document.get_all_operations():
        cases = operation.ok()
        for mode in GenerationMode:
            try:
                strategy = cases.as_strategy(generation_mode=mode)
                _play(strategy, callers)
            except Unsatisfiable:  # Nothing breaks an operation that takes no input.
                continue
            tried += 1
    assert tried >= MANY


def _play(strategy: Any, callers: list[dict[str, str]]) -> None:
    @settings(
        max_examples=5,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def play(case: Case) -> None:
        for headers in callers:
            case.call_and_validate(headers=headers, checks=CHECKS)

    play()
