"""A time stamp keeps a file trusted after its signer's certificate has ended; without one it ends.

The authority is OpenSSL's, in this process; the certificates really end, after two seconds.
"""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from service.provenance.trust import load_trust
from service.provenance.verdict import verify_file
from service.settings import Settings
from tests.authorities import Authority, new_key, pem_of, time_stamp_authority
from workers.stamping import PolicyViolation

SECONDS = 4


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    with time_stamp_authority(tmp_path_factory.mktemp("tsa") / "home") as running:
        yield running


@pytest.fixture
def stamping(
    tsa: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., x509.Certificate]:
    """Configures a signer that `lasts`, with the authority and trust in it or without."""
    authority = Authority.new()

    def configure(
        *, lasts: timedelta = timedelta(days=1), stamps: bool = True, trusted: bool = True
    ) -> x509.Certificate:
        key = new_key()
        chain = authority.leaf(key, lasts=lasts)
        files = {"SIGNING_CERT": chain, "TRUST_ANCHORS": authority.pem, "TSA_ANCHORS": tsa[1]}
        for name, text in files.items():
            (tmp_path / name).write_text(text)
            monkeypatch.setenv(f"REPRISE_{name}", str(tmp_path / name))
        monkeypatch.setenv("REPRISE_SIGNING_KEY", pem_of(key))
        if stamps:
            monkeypatch.setenv("REPRISE_SIGNING_TSA_URL", tsa[0])
        if not trusted:
            monkeypatch.delenv("REPRISE_TSA_ANCHORS")
        return x509.load_pem_x509_certificates(chain.encode())[0]

    return configure


@pytest.mark.parametrize("audio_format", ["mp3", "m4a"])
def test_the_time_is_the_authoritys(
    audio_format: str,
    stamping: Callable[..., x509.Certificate],
    stamp_it: Callable[..., Any],
    settings: Settings,
) -> None:
    stamping()
    before = datetime.now(UTC) - timedelta(seconds=2)

    verdict = verify_file(stamp_it(audio_format).path, load_trust(settings))

    assert verdict.verdict == "trusted"
    assert verdict.signer is not None and verdict.signer.time is not None
    assert before <= datetime.fromisoformat(verdict.signer.time) <= datetime.now(UTC)


def test_a_stamped_file_outlives_its_certificate_and_another_does_not(
    stamping: Callable[..., x509.Certificate],
    stamp_it: Callable[..., Any],
    settings: Settings,
    tmp_path: Path,
) -> None:
    lasts = timedelta(seconds=SECONDS)
    stamping(lasts=lasts, stamps=False)
    without = stamp_it("flac", out_dir=tmp_path / "without").path
    assert verify_file(without, load_trust(settings)).verdict == "trusted"
    leaf = stamping(lasts=lasts)
    stamped = stamp_it("flac", out_dir=tmp_path / "with").path

    # The last second of a certificate's validity belongs to it (RFC 5280, 4.1.2.5).
    while datetime.now(UTC) < leaf.not_valid_after_utc + timedelta(seconds=1):
        time.sleep(0.05)

    trust = load_trust(settings)
    assert verify_file(stamped, trust).verdict == "trusted"
    ended = verify_file(without, trust)
    assert ended.verdict == "invalid"
    # It was not altered, and that is not said of it.
    assert ended.answer == "nothing-known"


def test_a_stamp_of_an_authority_that_nobody_trusts_is_not_enough(
    stamping: Callable[..., x509.Certificate], stamp_it: Callable[..., Any]
) -> None:
    """The SDK calls the file trusted all the same; it would end with its certificate."""
    stamping(trusted=False)

    with pytest.raises(PolicyViolation) as caught:
        stamp_it()
    assert caught.value.violations == ["no authority that is trusted gave the time stamp"]
