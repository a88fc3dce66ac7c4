"""The key that marks are made and read with.

Whoever has it can read the marks, remove them and make others that read the same: it stays with
the service, which answers for everybody. A key that is lost takes all marks along.
"""

import secrets
from pathlib import Path
from typing import Final

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.auth.keys import write_once
from service.settings import Settings

KEY_BYTES: Final = 32


class WatermarkSettings(BaseSettings):
    """`REPRISE_WATERMARK_KEY`: 32 bytes in hexadecimal; else a key is made in `home/keys`."""

    model_config = SettingsConfigDict(env_prefix="REPRISE_", extra="ignore")
    watermark_key: SecretStr | None = None


class WatermarkKeyUnusable(ValueError):
    """The key that is configured is not 32 bytes in hexadecimal."""


def load_key(settings: Settings) -> bytes:
    """The 32 bytes of the key that marks are made with; made on first use where none is configured.

    :raises WatermarkKeyUnusable: what is configured, or lies in `home/keys`, is something else.
    """
    found = find_key(settings)
    if found is None:
        # Another worker may have been first: its key is the one.
        write_once(_place(settings), secrets.token_hex(KEY_BYTES))
        found = find_key(settings)
    if found is None:
        raise WatermarkKeyUnusable(f"{_place(settings)} cannot be written")
    return found


def find_key(settings: Settings) -> bytes | None:
    """The key that marks are read with; None where no mark was ever made.

    :raises WatermarkKeyUnusable: as `load_key`.
    """
    configured = WatermarkSettings().watermark_key
    if configured is not None:
        return _parsed(configured.get_secret_value(), "REPRISE_WATERMARK_KEY")
    path = _place(settings)
    return _parsed(path.read_text(encoding="ascii"), str(path)) if path.exists() else None


def _place(settings: Settings) -> Path:
    return settings.home / "keys" / "watermark.hex"


def _parsed(text: str, where: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError as error:
        raise WatermarkKeyUnusable(f"{where} is not hexadecimal") from error
    if len(key) != KEY_BYTES:
        raise WatermarkKeyUnusable(f"{where} has {len(key)} bytes, not {KEY_BYTES}")
    return key
