"""The API alone, as a process of its own."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from service.embedded.child import Child
from service.embedded.ports import listen
from service.embedded.stack import READY_SECONDS, StartFailed
from service.settings import Settings


@contextmanager
def api_process(settings: Settings) -> Iterator[str]:
    """Serve these settings' home and database; gives the address. Raises `StartFailed`."""
    sock = listen("127.0.0.1", 0, exactly=True)
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    child = Child(
        "api",
        [sys.executable, "-m", "service.cli", "api", "--fd", str(sock.fileno())],
        {
            **os.environ,
            "REPRISE_HOME": str(settings.home),
            "REPRISE_DATABASE_URL": settings.database,
            "REPRISE_PUBLIC_URL": url,
        },
        settings.home / "api.log",
        pass_fds=(sock.fileno(),),
    )
    child.start()
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not _answers(url):
            if not child.alive or time.monotonic() > deadline:
                raise StartFailed(f"the API does not answer:\n{child.last_lines()}")
            time.sleep(0.05)
        yield url
    finally:
        child.kill()
        sock.close()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=2.0).is_success
    except httpx.HTTPError:
        return False
