"""Whatever is sent, by whomever, the answer is one that the OpenAPI document names.

Requests are generated from the document itself (schemathesis), fitting it and breaking it, with the
identifiers of things that are there, one after another and along the links between operations. Each
role has a copy of one world full of state. `make attacks DEEP=1` tries many more; a seed of one's
own is set with REPRISE_TEST_SEED.

(Uploads and verification take no JSON and have tests of their own.)
"""

import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
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
from tests.attacks.counting import FUZZED
from tests.attacks.world import LENA, OPERATOR, World, found
from tests.cards import write_cards
from tests.stories import Story

DEEP = float(os.environ.get("REPRISE_TEST_DEEP", "0"))
SEED = int(os.environ.get("REPRISE_TEST_SEED", "20260"))
EXAMPLES, WALKS, STEPS = 2 + round(40 * DEEP), 4 + round(40 * DEEP), 20 if DEEP else 8
MANY = 60
ROLES = ("nobody", "listener", "artist", "label", "independent", "operator")
# They need a file; or never end where nobody works (a job's events).
APART = r"^/(readyz|metrics|healthz|v1/verify)$|/stems/"
MEMBERS = ("type", "title", "status", "detail", "limit", "changed_by")


def a_problem_says_what_it_promises(_context: Any, response: Any, _case: Case) -> None:
    """Every refusal is an RFC 9457 document with words for a person and the limit that was met."""
    if response.status_code < 400:
        return
    assert response.headers["content-type"] == ["application/problem+json"]
    document = response.json()
    assert set(MEMBERS) <= set(document), document
    assert document["status"] == response.status_code
    for name in set(MEMBERS) - {"status"}:
        assert isinstance(document[name], str), (name, document)
        assert document[name].strip(), (name, document)
    assert len(response.content) < 50_000


CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    a_problem_says_what_it_promises,
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The world that each role gets a copy of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPRISE_CARDS", str(write_cards(tmp_path_factory.mktemp("cards"))))
        chosen = Settings(home=tmp_path_factory.mktemp("fuzz"))
        database = Database(chosen.database)
        migrate(database)
        story = Story(database=database, settings=chosen, keys=ServiceKeys.load(chosen))
        made = found(story, tmp_path_factory.mktemp("files"))
        database.dispose()
        yield made


@pytest.fixture
def client(world: World, tmp_path: Path) -> Iterator[TestClient]:
    """An application on a copy of the world."""
    home = tmp_path / "home"
    shutil.copytree(world.books.settings.home, home)
    with TestClient(create_app(Settings(home=home)), raise_server_exceptions=False) as opened:
        yield opened


def begin_again(world: World, client: TestClient) -> None:
    """Put the application's copy of the world back into its first state, while it runs."""
    before, now = world.books.settings, client.app.state.settings  # type: ignore[attr-defined]
    shutil.copytree(before.home / "objects", now.home / "objects", dirs_exist_ok=True)
    with (
        closing(sqlite3.connect(before.home / "reprise.db")) as source,
        closing(sqlite3.connect(now.home / "reprise.db")) as copy,
    ):
        source.backup(copy)


@pytest.fixture
def document(client: TestClient) -> Any:
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    schema.config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
    schema.app = client.app
    return schema.exclude(path_regex=APART).exclude(method="PUT", path_regex="/audio$")


def headers_of(world: World, role: str) -> dict[str, str]:
    people: dict[str, Principal] = {
        "listener": LENA,
        "artist": world.ada.principal,
        "label": world.label.principal,
        "independent": world.ines.principal,
        "operator": OPERATOR,
    }
    return world.story.headers(people[role]) if role in people else {}


def there(world: World) -> Mapping[str, list[str]]:
    """What a parameter or a member of this name could be, of what is there."""
    ids = world.ids
    tracks = [ids["track_id"], ids["open_track"], ids["upload_track"], ids["held_track"]]
    jobs = [ids["remix_id"], ids["taken"], ids["waiting"]]
    previews = [ids["preview_id"], ids["waiting_preview"]]
    grants = [ids["grant_id"], ids["open_grant"], ids["training_grant_id"]]
    parties = [ids["party_id"], ids["label_id"], ids["ines_id"]]
    return {
        "track_id": tracks,
        "template_id": [ids["template_id"], ids["open_template"]],
        "grant_id": grants,
        "mandate_id": [ids["mandate_id"], ids["waiting_mandate"]],
        "dispute_id": [ids["dispute_id"]],
        "remix_id": jobs,
        "preview_id": previews,
        "job_id": jobs + previews,
        "party_id": parties,
        "party": parties,
        "grantor": parties,
        "agent": parties,
        "kid": [ids["kid"], ids["label_kid"]],
        "idempotency-key": ["one", "another"],
    }


def with_what_is_there(case: Case, pool: Mapping[str, list[str]], pick: int) -> None:
    """Put identifiers of what is there into a case, wherever it has one."""
    ended = "/events" in case.operation.path
    for holder in (case.path_parameters, case.query, case.body):
        _fill(holder, pool, 0 if ended else pick)
    version = (case.path_parameters or {}).get("version")
    if version is not None:
        case.path_parameters["version"] = 1 + pick % 2


def _fill(value: Any, pool: Mapping[str, list[str]], pick: int) -> None:
    if isinstance(value, dict):
        for name, each in value.items():
            if name in pool and isinstance(each, str):
                value[name] = pool[name][pick % len(pool[name])]
            else:
                _fill(each, pool, pick)
    elif isinstance(value, list):
        for each in value:
            _fill(each, pool, pick)


def bounded(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        stateful_step_count=STEPS,
    )


@pytest.mark.attack("requests at random")
@pytest.mark.timeout(3600 if DEEP else 300)
@pytest.mark.parametrize("role", ROLES)
def test_no_request_breaks_the_service(
    document: Any, world: World, role: str, request: pytest.FixtureRequest
) -> None:
    headers, pool = headers_of(world, role), there(world)
    operations, cases = 0, 0
    wrong: list[str] = []
    for found_ in document.get_all_operations():
        operation = found_.ok()
        operations += 1
        for mode in GenerationMode:

            @seed(SEED + crc32(f"{operation.label} {mode.value}".encode()))
            @bounded(EXAMPLES)
            @given(
                case=operation.as_strategy(generation_mode=mode),
                pick=st.none() | st.integers(0, 11),
            )
            def play(case: Case, pick: int | None) -> None:
                nonlocal cases
                if pick is not None:
                    with_what_is_there(case, pool, pick)
                cases += 1
                case.call_and_validate(headers=headers, checks=CHECKS)

            try:
                play()
            except Unsatisfiable:  # Nothing breaks an operation that takes no input.
                continue
            except (AssertionError, BaseExceptionGroup) as error:
                wrong.append(f"{operation.label} ({mode.value}): {error}: {_first(error)}")
    said = f"{role}: {operations} operations, {cases} requests, seed {SEED}"
    request.node.user_properties.append((FUZZED, said))
    assert not wrong, "\n".join(wrong)
    assert operations >= MANY
    assert cases >= operations


def _first(error: BaseException) -> str:
    inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error
    return str(inner)[:500]


@pytest.mark.attack("requests at random")
@pytest.mark.timeout(3600 if DEEP else 300)
@pytest.mark.parametrize("role", ROLES[1:])
def test_no_walk_along_the_links_breaks_the_service(
    document: Any, client: TestClient, world: World, role: str, request: pytest.FixtureRequest
) -> None:
    """What one answer names is asked for next (schemathesis finds the links by their names)."""
    headers, pool = headers_of(world, role), there(world)
    cases = 0

    class Walk(document.exclude(path_regex="/events$").as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            super().setup()
            self.steps = 0
            # Hypothesis repeats walks: each begins in the same world.
            begin_again(world, client)

        def before_call(self, case: Case) -> None:
            nonlocal cases
            cases += 1
            self.steps += 1
            # Every other step asks for what is there; the others for what an answer named.
            if self.steps % 2:
                with_what_is_there(case, pool, self.steps)

        def get_call_kwargs(self, case: Case) -> dict[str, Any]:
            return {"headers": headers}

        def validate_response(
            self, response: Any, case: Case, additional_checks: Any = None, **_: Any
        ) -> None:
            case.validate_response(response, checks=CHECKS, headers=headers)

    seed(SEED)(Walk)
    Walk.run(settings=bounded(WALKS))
    said = f"{role}: {cases} requests in walks, seed {SEED}"
    request.node.user_properties.append((FUZZED, said))
    assert cases > WALKS
