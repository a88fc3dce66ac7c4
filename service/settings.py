"""Settings: everything an operator may change, read from `REPRISE_*` environment variables."""

from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """The service's and the workers' settings; the defaults are the embedded parts.

    Durations are seconds, sizes bytes.
    """

    model_config = SettingsConfigDict(env_prefix="REPRISE_", extra="ignore")

    home: Path = Field(Path(".reprise"), description="Folder of the embedded parts' state.")
    database_url: str | None = Field(None, description="SQLAlchemy URL; default SQLite in home.")
    broker_url: str | None = Field(None, description="Redis-protocol URL; default embedded Valkey.")
    objects_url: str | None = Field(
        None, description="Object store URL (file, s3, gs, az); default home."
    )
    public_url: str = Field("http://127.0.0.1:8000", description="Where listeners reach the API.")

    issuer: str = Field("reprise-dev", description="`iss` of accepted bearer tokens.")
    audience: str = Field("reprise", description="`aud` of accepted bearer tokens.")
    jwks_url: str | None = Field(None, description="OIDC issuer's JWKS; unset: development keys.")
    service_key: SecretStr | None = Field(
        None, description="Ed25519 private JWK (JSON) that signs job tokens; unset: made in home."
    )

    custody_keys: SecretStr | None = Field(
        None,
        description="JWK Set (JSON) of 256-bit oct keys that encrypt the parties' keys which the "
        "service keeps; the first encrypts. Unset: made in home.",
    )
    seal_keys: SecretStr | None = Field(
        None,
        description="JWK Set (JSON) of Ed25519 private keys; the first seals exported grants, all "
        "are published. Unset: made in home.",
    )

    log_keys: SecretStr | None = Field(
        None,
        description="JWK Set (JSON) of Ed25519 private keys that sign the public log's checkpoints."
        " Unset: made in home.",
    )
    log_origin: str = Field(
        "reprise-dev/log",
        description="The public log's name for good: its address without the scheme.",
    )

    max_upload_bytes: int = 512 * 1024 * 1024
    max_track_seconds: float = 900.0
    min_track_seconds: float = 3.0
    decode_seconds: float = 60.0
    decode_memory_bytes: int = 3 * 1024**3
    queue_limit_audio_seconds: float = Field(
        1500.0,
        description="What may wait; keep it under workers × job_deadline_seconds, since a worker "
        "makes about a second of audio a second and a job's deadline runs while it waits.",
    )
    job_deadline_seconds: float = 1800.0
    lease_seconds: float = 15.0
    max_attempts: int = 3
    previews_per_version: int = Field(
        64, ge=0, description="Previews of one template version that are kept at a time."
    )
    platform_fee_ppm: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="What the platform keeps of every price, in parts per million. A new template "
        "version may not state less; what was signed before stays as it was signed.",
    )
    plays_per_hour: int = Field(
        20, ge=1, description="Plays of one remix that are counted for its listener in an hour."
    )
    worker_jobs: int = Field(
        1,
        ge=1,
        description="Jobs that one worker has in hand at once; each holds its song's stems in "
        "memory while it is mixed.",
    )
    engine_rows: int = Field(
        96,
        ge=1,
        description="Rows that one generator samples at once: a job takes its candidates times "
        "its guidance branches, 24 as a rule, and waits while they are not free.",
    )
    engine_memory_bytes: int = Field(
        4 * 1024**3,
        ge=1,
        description="What the keys and values of a generator's rows may take; there are fewer "
        "rows where they would take more. A GPU gives all of it to each generator at once.",
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="Where separation and generation compute: cpu, cuda, cuda:1, or auto: CUDA "
        "where there is one.",
    )
    engine_device: str | None = Field(
        None,
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="Where generation computes, if not where `device` says.",
    )
    engine_precision: Literal["float32", "bfloat16", "int8"] = Field(
        "float32", description="Of a generator's weights while it samples."
    )
    model_idle_seconds: float = Field(
        900.0, gt=0, description="A model nobody has asked for so long is unloaded."
    )
    excerpt_seconds: float = Field(
        30.0,
        ge=0,
        description="How much of a remix its listener may hear while the rest is made, from the "
        "beginning; 0: nothing.",
    )
    separator: str = Field("auto", description="Card name, or auto: htdemucs if pulled.")

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.database_url or f"sqlite:///{(self.home / 'reprise.db').resolve()}"

    @property
    def objects(self) -> str:
        """The object store URL in force."""
        return self.objects_url or f"file://{(self.home / 'objects').resolve()}"


@lru_cache
def get_settings() -> Settings:
    """The process's settings, read once."""
    return Settings()
