"""A `reprise` command that runs beside the tests, and what it told."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from service.auth import ServiceKeys, mint_token
from service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
# A busy machine may be waited for longer; no bound that is claimed is loosened by it.
PATIENCE = float(os.environ.get("REPRISE_TEST_PATIENCE", "1"))
DEMO_SECONDS = 240 * PATIENCE


@dataclass
class Command:
    """A `reprise` command that runs, and what it has printed so far."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.lines)

    def wait_for(self, pattern: str, seconds: float) -> re.Match[str]:
        """The first match of `pattern` in the output; fails with the output."""
        deadline = time.monotonic() + seconds
        while True:
            # The process is asked first: what it printed before it ended is then read too.
            ended = self.process.poll() is not None
            if ended:
                time.sleep(0.3)
            if found := re.search(pattern, self.text):
                return found
            if ended or time.monotonic() > deadline:
                pytest.fail(f"no {pattern!r} in the output of the command:\n{self.text}")
            time.sleep(0.1)

    def status(self, seconds: float = 60 * PATIENCE) -> int:
        """Wait for the end; the exit status."""
        status = self.process.wait(seconds)
        time.sleep(0.3)  # What it printed last is read by then.
        return status

    def end(self, number: int = signal.SIGINT) -> int:
        """Send a signal and wait; the exit status."""
        self.process.send_signal(number)
        return self.status()


def run_reprise(
    home: Path, *arguments: str, cwd: Path = ROOT, environment: Mapping[str, str] | None = None
) -> Command:
    """Start `reprise ARGUMENT …` with its state in `home`, and `environment` added to ours."""
    process = subprocess.Popen(
        [sys.executable, "-m", "service.cli", *arguments],
        cwd=cwd,
        env={
            **os.environ,
            **(environment or {}),
            "REPRISE_HOME": str(home),
            "COLUMNS": "200",
            "NO_COLOR": "1",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    command = Command(process)

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            command.lines.append(line)

    threading.Thread(target=read, daemon=True).start()
    return command


@dataclass
class Demo:
    """A demo that told its story and serves its page."""

    command: Command
    home: Path
    folder: Path
    url: str
    page: str
    file: Path

    def token(self) -> str:
        """A listener's bearer token; the demo's own listener's."""
        settings = Settings(home=self.home)
        keys = ServiceKeys.load(settings)
        return mint_token(keys, settings, "listener", "demo-listener", ttl=timedelta(minutes=30))


def pids_below(pid: int) -> list[int]:
    """All processes that descend from `pid`."""
    children = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int(entry.joinpath("stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            if parent == pid:
                children.append(int(entry.name))
    return children + [below for child in children for below in pids_below(child)]


def command_line(pid: int) -> str:
    """The words that a process was started with."""
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
