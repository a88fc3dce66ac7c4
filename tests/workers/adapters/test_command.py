"""The command line: what it says, and what a refusal looks like."""

import pytest

from service.settings import get_settings
from tests.adapter_rig import Atelier
from tests.stories import Owner
from workers.adapters.command import main


@pytest.fixture(autouse=True)
def own_settings(atelier: Atelier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.adapters.command.get_settings", lambda: atelier.settings)


def test_an_adapter_is_trained_listed_revoked_and_swept(
    atelier: Atelier, ada: Owner, capsys: pytest.CaptureFixture[str]
) -> None:
    grant_id = atelier.grant(ada, adapter="by-hand")
    small = ["--steps", "2", "--batch", "1", "--rank", "2", "--alpha", "4"]
    assert main(["train", "by-hand", *small, "--stop-after", "1"]) == 0
    assert "goes on" in capsys.readouterr().out
    assert main(["train", "by-hand", *small]) == 0
    assert "may play" in capsys.readouterr().out
    assert main(["list"]) == 0
    assert "ready" in capsys.readouterr().out
    atelier.training.revoke(ada.principal, grant_id)
    assert main(["sweep"]) == 0
    assert "by-hand" in capsys.readouterr().out
    assert main(["list"]) == 0
    assert "deleted" in capsys.readouterr().out


def test_a_refusal_has_its_own_words_and_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "never-granted"]) == 1
    assert "no open training grant" in capsys.readouterr().err
    assert main(["train", "../keys"]) == 1
    assert "cannot be an adapter's name" in " ".join(capsys.readouterr().err.split())


def test_a_database_that_is_not_there_is_said_to_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = get_settings().model_copy(update={"database_url": "sqlite:////nonexistent/x/y.db"})
    monkeypatch.setattr("workers.adapters.command.get_settings", lambda: nowhere)
    assert main(["list"]) == 1
    assert "reprise migrate" in capsys.readouterr().err
