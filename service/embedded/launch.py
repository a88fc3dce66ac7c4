"""Become a command that the kernel ends together with the process that started it.

`python -m service.embedded.launch PARENT_PID COMMAND [ARGUMENT …]`. The parent-death signal of
prctl(2) survives execve(2), so it also holds for programs that know nothing of it, such as the
broker. Where there is no prctl (macOS) the command simply runs.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process when `parent` (a process id) ends."""
    if not sys.platform.startswith("linux"):
        return
    # SIGKILL, because a killed supervisor cannot wait: every part is built to survive it.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # It ended before the signal was asked for.
        raise SystemExit(1)


def main() -> None:
    """Bind this process to its parent and become the command."""
    parent, *command = sys.argv[1:]
    die_with(int(parent))
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
