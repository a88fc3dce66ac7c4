"""Sandbox: untrusted media is read in a child process with limits, never in the caller.

The child is this same interpreter. It limits itself before it imports anything that parses media:
address space, CPU seconds, file size, descriptors, no core dump; it gets an environment without
secrets and dies with its parent. What it found comes back as one JSON object on its output.
"""

import ctypes
import json
import os
import resource
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

Limit = Literal["time", "memory", "output", "crash"]

OUTPUT_BYTES = 1 << 20
POLL_SECONDS = 0.02
_PR_SET_PDEATHSIG = 1
_EXIT_MEMORY = 97
_ROOT = Path(__file__).resolve().parent.parent


class SandboxFailure(Exception):
    """The child did not answer within its limits.

    `limit` is what ended it: `time` (wall or CPU), `memory`, `output` (an answer or a file that is
    too large) or `crash` (any other abnormal end). `diagnosis` is the end of its error output, for
    the log and never for the client.
    """

    def __init__(self, limit: Limit, diagnosis: str = "") -> None:
        super().__init__(f"the child ended by its limit on {limit}")
        self.limit: Limit = limit
        self.diagnosis = diagnosis


def run_limited(
    module: str,
    args: Sequence[str],
    *,
    seconds: float,
    memory_bytes: int,
    file_bytes: int = 0,
    output_bytes: int = OUTPUT_BYTES,
    stop: Callable[[], None] | None = None,
    handles: Sequence[int] = (),
) -> dict[str, Any]:
    """Run `python -m module args…` under limits and return the JSON object it prints.

    :param seconds: limit on wall time, and on CPU time.
    :param memory_bytes: limit on the child's address space.
    :param file_bytes: largest file the child may write; 0: none.
    :param output_bytes: largest answer.
    :param stop: called while waiting; if it raises, the child is killed and the exception goes on.
    :param handles: open files that the child has too; it opens them as `/dev/fd/N`.
    :raises SandboxFailure: the child met a limit, crashed, or its answer is not a JSON object.
    """
    limits = json.dumps(
        {
            "cpu": int(seconds) + 1,
            "memory": memory_bytes,
            # The answer goes to a file too (a pipe could block the child or us).
            "file": max(file_bytes, output_bytes),
        }
    )
    command = [sys.executable, "-s", "-P", "-m", __name__, limits, module, *args]
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=answer,
            stderr=errors,
            env=_environment(),
            start_new_session=True,
            pass_fds=handles,
        )
        try:
            timed_out = not _wait(child, time.monotonic() + seconds, stop)
        finally:
            _kill(child)
        errors.seek(max(0, errors.seek(0, os.SEEK_END) - 4096))
        diagnosis = errors.read().decode(errors="replace")
        size = answer.seek(0, os.SEEK_END)
        answer.seek(0)
        if timed_out or child.returncode == -signal.SIGXCPU:
            raise SandboxFailure("time", diagnosis)
        if child.returncode == _EXIT_MEMORY:
            raise SandboxFailure("memory", diagnosis)
        if child.returncode == -signal.SIGXFSZ or size > output_bytes:
            raise SandboxFailure("output", diagnosis)
        if child.returncode != 0:
            raise SandboxFailure("crash", diagnosis)
        try:
            document = json.loads(answer.read())
        except ValueError as error:
            raise SandboxFailure("crash", diagnosis) from error
    if not isinstance(document, dict):
        raise SandboxFailure("crash", "the answer is not a JSON object")
    return document


def _environment() -> dict[str, str]:
    """What the child sees: where to find code, one thread per library, no secrets."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")}
    return {**kept, **threads, "PYTHONPATH": str(_ROOT), "LC_ALL": "C.UTF-8"}


def _wait(child: subprocess.Popen[bytes], deadline: float, stop: Callable[[], None] | None) -> bool:
    while child.poll() is None:
        if time.monotonic() >= deadline:
            return False
        if stop is not None:
            stop()
        time.sleep(POLL_SECONDS)
    return True


def _kill(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _limit_self(cpu: int, memory: int, file: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for kind, value in (
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, file),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (value, value))
    # Python ignores SIGXFSZ; here it should end the child.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


def _child(limits: str, module: str, args: Sequence[str]) -> None:
    _limit_self(**json.loads(limits))
    sys.argv = [module, *args]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except MemoryError:
        # No clean-up: there is no memory for it.
        os._exit(_EXIT_MEMORY)


if __name__ == "__main__":
    _child(sys.argv[1], sys.argv[2], sys.argv[3:])
