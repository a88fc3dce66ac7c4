"""The embedded parts: they come up together, stay up, and leave nothing behind."""

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest
from running import PATIENCE, Command, command_line, pids_below

UP = r"Reprise is at (\S+)"
READY_SECONDS = 60 * PATIENCE


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def all_end(pids: list[int], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while any(map(alive, pids)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def test_up_serves_heals_a_killed_part_and_ctrl_c_ends_everything(
    reprise: Callable[..., Command], tmp_path: Path
) -> None:
    up = reprise("up")
    url = up.wait_for(UP, READY_SECONDS)[1]
    assert httpx.get(f"{url}/readyz").json().keys() >= {"database", "broker", "objects"}
    assert httpx.get(url).text.startswith("<!doctype html>")
    parts = pids_below(up.process.pid)
    assert len(psutil.Process(up.process.pid).children()) == 4, "broker, API, relay and worker"

    relay = next(pid for pid in parts if "service.cli relay" in command_line(pid))
    os.kill(relay, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while not any(
        "service.cli relay" in command_line(pid)
        for pid in pids_below(up.process.pid)
        if pid != relay and alive(pid)
    ):
        assert time.monotonic() < deadline, "the relay was not started again"
        time.sleep(0.1)

    parts = [pid for pid in pids_below(up.process.pid) if alive(pid)]
    shown = " ".join(map(command_line, parts))
    assert "valkey" in shown
    assert "redis://" not in shown, "the broker's password does not show in the process list"
    assert "requirepass" not in shown
    assert up.end(signal.SIGINT) == 0
    assert all_end(parts, 1)
    assert not (tmp_path / "home" / "stack.json").exists()


def test_a_killed_supervisor_leaves_no_orphan(reprise: Callable[..., Command]) -> None:
    up = reprise("up")
    up.wait_for(UP, READY_SECONDS)
    parts = pids_below(up.process.pid)
    assert len(psutil.Process(up.process.pid).children()) == 4, "broker, API, relay and worker"
    up.end(signal.SIGKILL)
    assert all_end(parts)


def test_a_port_in_use_picks_another_unless_it_was_asked_for(
    reprise: Callable[..., Command], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = reprise("up", "--port", str(port), home=tmp_path / "refused")
        assert refused.status() == 1
        assert f"port {port}" in refused.text
        assert "taken" in refused.text
    try:
        usual = socket.create_server(("127.0.0.1", 8000))
    except OSError:
        usual = None  # Somebody else holds it: as good.
    try:
        up = reprise("up")
        url = up.wait_for(UP, READY_SECONDS)[1]
        assert not url.endswith(":8000")
        assert httpx.get(f"{url}/healthz").is_success
        again = reprise("up")
        assert again.status() == 1
        assert f"already running at {url}" in again.text
    finally:
        if usual is not None:
            usual.close()


def test_a_part_that_cannot_live_is_named_with_its_log(
    reprise: Callable[..., Command], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPRISE_BROKER_URL", "nonsense://nowhere")
    up = reprise("up")
    assert up.status(READY_SECONDS) == 1
    assert "did not start" in up.text
    assert "log" in up.text
