"""The sandbox: a child that misbehaves is ended by its limits, and it gets none of our secrets."""

import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from service.sandbox import SandboxFailure, run_limited

GIB = 1 << 30


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Runs a piece of code as the child's module (found beside the service's own code)."""
    monkeypatch.setattr("service.sandbox._ROOT", f"{_root()}{os.pathsep}{tmp_path}")

    def run(code: str, *args: str, **limits: float) -> dict[str, object]:
        (tmp_path / "untrusted.py").write_text(code)
        settings = {"seconds": 20.0, "memory_bytes": GIB, **limits}
        return run_limited("untrusted", args, **settings)  # type: ignore[arg-type]

    return run


def _root() -> Path:
    return Path(__file__).resolve().parents[2]


def ended_by(run: object, code: str, **limits: float) -> str:
    started = time.monotonic()
    # Other tests of the same run may have left a child of their own (multiprocessing's tracker).
    before = set(psutil.Process().children())
    with pytest.raises(SandboxFailure) as caught:
        run(code, **limits)  # type: ignore[operator]
    assert time.monotonic() - started < 25
    assert set(psutil.Process().children()) <= before
    return caught.value.limit


def test_an_answer_comes_back(module: object) -> None:
    code = "import sys, json; print(json.dumps({'arguments': sys.argv[1:]}))"
    assert module(code, "a b", "ü") == {"arguments": ["a b", "ü"]}  # type: ignore[operator]


def test_it_sees_no_secret_and_no_standard_input(
    module: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPRISE_SERVICE_KEY", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    code = (
        "import json, os, sys\n"
        "print(json.dumps({'names': sorted(os.environ), 'input': sys.stdin.read()}))"
    )
    seen = module(code)  # type: ignore[operator]
    assert seen["input"] == ""
    assert not {"REPRISE_SERVICE_KEY", "AWS_SECRET_ACCESS_KEY", "HOME"} & set(seen["names"])


@pytest.mark.attack("hostile audio file")
def test_wall_time(module: object) -> None:
    assert ended_by(module, "import time; time.sleep(60)", seconds=0.5) == "time"


def test_processor_time(module: object) -> None:
    """A child that only counts is ended by one clock or the other."""
    assert ended_by(module, "while True: pass", seconds=1.0) == "time"


@pytest.mark.attack("hostile audio file")
def test_memory(module: object) -> None:
    code = "x = []\nwhile True: x.append(bytearray(1 << 24))"
    assert ended_by(module, code, memory_bytes=256 << 20) == "memory"


def test_a_large_file(module: object, tmp_path: Path) -> None:
    path = tmp_path / "large"
    code = f"f = open({str(path)!r}, 'wb')\nfor _ in range(100): f.write(bytes(1 << 20)); f.flush()"
    assert ended_by(module, code, file_bytes=2 << 20) == "output"
    assert path.stat().st_size <= 2 << 20


def test_a_large_answer(module: object) -> None:
    code = "import sys\nfor _ in range(100): sys.stdout.write('x' * (1 << 20)); sys.stdout.flush()"
    assert ended_by(module, code) == "output"


@pytest.mark.parametrize(
    "code",
    [
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "import sys; sys.exit(3)",
        "raise RuntimeError('no')",
        "print('not json')",
        "print('[1, 2]')",
        "",
    ],
    ids=["signal", "status", "exception", "text", "list", "silence"],
)
def test_any_other_end_is_a_crash(module: object, code: str) -> None:
    assert ended_by(module, code) == "crash"


def test_the_callers_stop_ends_it(module: object) -> None:
    class Stopped(Exception):
        pass

    def stop() -> None:
        raise Stopped

    before = set(psutil.Process().children())
    with pytest.raises(Stopped):
        module("import time; time.sleep(60)", stop=stop)  # type: ignore[operator]
    assert set(psutil.Process().children()) <= before


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    """A worker that is killed leaves no decoder behind."""
    import signal
    import subprocess

    pid_file = tmp_path / "pid"
    (tmp_path / "untrusted.py").write_text(
        f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    )
    code = (
        "import service.sandbox as s\n"
        f"s._ROOT = '{_root()}{os.pathsep}{tmp_path}'\n"
        "s.run_limited('untrusted', [], seconds=60, memory_bytes=1 << 30, file_bytes=1 << 20)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=_root())
    deadline = time.monotonic() + 30
    while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    child = psutil.Process(int(pid_file.read_text()))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    child.wait(timeout=10)
