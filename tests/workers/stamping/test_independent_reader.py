"""A second C2PA implementation accepts our files: it shares no code with the SDK that signs them.

It needs Node.js and `npm ci --prefix tests/independent` (`make test` does it where npm is there).
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.provenance import labels
from tests.authorities import Authority, new_key, pem_of
from workers.stamping import SoftBinding, StampRecord

READER = Path(__file__).resolve().parents[2] / "independent"
FORMATS = ["m4a", "mp3"]


@pytest.fixture(scope="module")
def read() -> Callable[[Path], dict[str, Any]]:
    node = shutil.which("node")
    if node is None or not (READER / "node_modules" / "@trustnxt").exists():
        missing = "Node.js or tests/independent/node_modules is not here"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)

    def call(path: Path) -> dict[str, Any]:
        done = subprocess.run(
            [node, str(READER / "read.mjs"), str(path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return call


@pytest.mark.parametrize("kind", ["es256", "ed25519"])
@pytest.mark.parametrize("audio_format", FORMATS)
def test_another_implementation_accepts_it(
    audio_format: str,
    kind: str,
    read: Callable[[Path], dict[str, Any]],
    stamp_it: Callable[..., Any],
    record: StampRecord,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authority, key = Authority.new(), new_key(kind)
    for name, text in {"SIGNING_CERT": authority.leaf(key), "TRUST_ANCHORS": authority.pem}.items():
        (tmp_path / name).write_text(text)
        monkeypatch.setenv(f"REPRISE_{name}", str(tmp_path / name))
    monkeypatch.setenv("REPRISE_SIGNING_KEY", pem_of(key))
    bound = replace(record, soft_bindings=(SoftBinding("org.reprise.watermark.1", b"\0\xff\1\2"),))

    stamped = stamp_it(audio_format, record=bound)
    found = read(stamped.path)

    assert (found["valid"], found["failures"]) == (True, [])
    assert found["active"] == stamped.manifest["active_manifest"]
    hard_binding = (
        "assertion.dataHash.match" if audio_format == "mp3" else "assertion.bmffHash.match"
    )
    assert {"claimSignature.validated", hard_binding} <= set(found["successes"])
    assert found["manifests"] == 2, "the original's is among them"
    assert {
        labels.CONSENT,
        labels.GENERATION,
        labels.CREDITS,
        labels.SOFT_BINDING,
        labels.TRAINING_MINING,
    } <= set(found["assertions"])


@pytest.mark.parametrize("audio_format", FORMATS)
def test_it_sees_what_was_changed(
    audio_format: str, read: Callable[[Path], dict[str, Any]], stamp_it: Callable[..., Any]
) -> None:
    path = stamp_it(audio_format).path
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)

    found = read(path)

    assert not found["valid"]
    assert found["failures"]
