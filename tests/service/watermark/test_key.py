"""The key and the payload: made once, kept secret, refused where they are something else."""

from pathlib import Path

import pytest

from service.settings import Settings
from service.watermark.key import WatermarkKeyUnusable, load_key
from service.watermark.payload import payload_bytes, payload_of


@pytest.fixture(autouse=True)
def no_operator_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REPRISE_WATERMARK_KEY", raising=False)


def test_a_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    first = load_key(Settings(home=tmp_path))
    assert len(first) == 32
    assert load_key(Settings(home=tmp_path)) == first
    assert load_key(Settings(home=tmp_path / "elsewhere")) != first
    assert (tmp_path / "keys" / "watermark.hex").stat().st_mode & 0o777 == 0o600


def test_a_configured_key_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPRISE_WATERMARK_KEY", "0f" * 32)
    assert load_key(Settings(home=tmp_path)) == b"\x0f" * 32
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize("text", ["", "0f" * 31, "zz" * 32], ids=["empty", "short", "no-hex"])
def test_what_is_no_key_is_refused_without_showing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("REPRISE_WATERMARK_KEY", text)
    with pytest.raises(WatermarkKeyUnusable, match="REPRISE_WATERMARK_KEY") as refused:
        load_key(Settings(home=tmp_path))
    assert not text or text not in str(refused.value)


def test_a_payload_is_the_job_s_and_stays_so() -> None:
    assert payload_bytes(payload_of("job_1")).hex() == "5153138c7028"
    assert payload_of("job_1") != payload_of("job_2")
    assert len(payload_bytes(0)) == 6
