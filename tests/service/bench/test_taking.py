"""What `reprise bench takedown` measures by the thousand: a few, on both databases."""

from typer.testing import CliRunner

from service.bench import taking
from service.bench.processes import api_process
from service.cli import app
from service.database import Database
from service.settings import Settings


def test_all_is_paid_back_and_the_audit_agrees(database: Database, settings: Settings) -> None:
    settings.home.mkdir(exist_ok=True)
    with api_process(settings) as url:
        seen = taking.measure(database, settings, url, 27)
    assert seen.remixes == 27
    assert 0 < seen.delete <= seen.paid_back
    assert seen.waited > 0


def test_the_command_is_there() -> None:
    told = CliRunner().invoke(app, ["bench", "takedown", "--help"])
    assert told.exit_code == 0
    assert "--remixes" in told.output
