"""The stack: broker, API, relay and worker, started together and stopped together."""

import contextlib
import fcntl
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

import httpx

from service.database import Database
from service.embedded.broker import embedded_broker
from service.embedded.child import Child
from service.embedded.ports import listen
from service.migrations import migrate
from service.settings import Settings

DEFAULT_HOME = Settings.model_fields["home"].default
READY_SECONDS = 60.0
STOP_SECONDS = 5.0
CRASH_WINDOW_SECONDS = 60.0
CRASHES_ALLOWED = 3


class AlreadyRunning(Exception):
    """Another command already runs the embedded parts on this home folder."""

    def __init__(self, url: str | None) -> None:
        super().__init__(f"already running{f' at {url}' if url else ''}")
        self.url = url


class StartFailed(Exception):
    """A part did not start or kept ending; the message holds the end of its log."""


def running_url(home: Path) -> str | None:
    """The address of the stack that runs on this home folder, if one does and answers."""
    try:
        url = str(json.loads((home / "stack.json").read_text())["url"])
        httpx.get(f"{url}/healthz", timeout=2.0).raise_for_status()
    except (OSError, ValueError, KeyError, httpx.HTTPError):
        return None
    return url


class Stack:
    """The embedded parts as a context manager.

    A part that ends by itself is started again; one that ends more than `CRASHES_ALLOWED` times
    in a minute stops the stack (`failure` then says which, and shows its log). A broker named in
    the settings is used instead of the embedded one.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.home = settings.home.resolve()
        self.url = ""
        self.failure: str | None = None
        self._settings = settings
        self._host = host
        self._chosen = dict(environment or {})
        self._port = port
        self._children: list[Child] = []
        self._stopping = threading.Event()
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def child(self, name: str) -> Child:
        """The part called broker, api, relay or worker."""
        return next(child for child in self._children if child.name == name)

    def wait(self, until: Callable[[], bool] = lambda: False) -> None:
        """Return when `until()` holds; raises `StartFailed` when a part cannot be kept up."""
        while not until():
            self.check()
            time.sleep(0.1)

    def check(self) -> None:
        """Raise `StartFailed` if a part could not be kept up."""
        if self.failure:
            raise StartFailed(self.failure)

    def _start(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self._lock()
        logs = self.home / "logs"
        shutil.rmtree(logs, ignore_errors=True)
        logs.mkdir()

        sock = listen(self._host, self._port or 8000, exactly=self._port is not None)
        self._exit.callback(sock.close)
        self.url = f"http://{self._host}:{sock.getsockname()[1]}"
        environment = self._environment()
        if self._settings.broker_url is None:
            self._start_broker(environment, logs / "broker.log")
        self._exit.callback(self._stop)
        self._migrate()
        reprise = [sys.executable, "-m", "service.cli"]
        fd = str(sock.fileno())
        for name, arguments, pass_fds in (
            ("worker", ["worker"], ()),
            ("api", ["api", "--fd", fd], (sock.fileno(),)),
            ("relay", ["relay"], ()),
        ):
            child = Child(
                name,
                [*reprise, *arguments],
                environment,
                logs / f"{name}.log",
                pass_fds=pass_fds,
            )
            self._children.append(child)
            child.start()
        threading.Thread(target=self._keep_up, name="keep-up", daemon=True).start()
        self._await_ready()
        state = self.home / "stack.json"
        state.write_text(json.dumps({"url": self.url, "pid": os.getpid()}))
        self._exit.callback(state.unlink, missing_ok=True)

    def _lock(self) -> None:
        lock = self._exit.enter_context((self.home / "stack.lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunning(running_url(self.home)) from error

    def _environment(self) -> dict[str, str]:
        environment = {**os.environ, **self._chosen, "REPRISE_PUBLIC_URL": self.url}
        # Unset here, it stays unset: pulled checkpoints lie in the user's cache for all parts.
        if "REPRISE_HOME" in os.environ or self._settings.home != DEFAULT_HOME:
            environment["REPRISE_HOME"] = str(self.home)
        # Threads that spin while they wait make two cores slower than one.
        for name, value in (
            ("OMP_NUM_THREADS", str(min(8, len(os.sched_getaffinity(0))))),
            ("OMP_WAIT_POLICY", "PASSIVE"),
            ("GOMP_SPINCOUNT", "0"),
            ("PYTHONUNBUFFERED", "1"),
        ):
            environment.setdefault(name, value)
        return environment

    def _start_broker(self, environment: dict[str, str], log: Path) -> None:
        folder = Path(tempfile.mkdtemp(prefix="reprise-broker-"))
        self._exit.callback(shutil.rmtree, folder, ignore_errors=True)
        child, environment["REPRISE_BROKER_URL"] = embedded_broker(environment, log, folder)
        self._children.append(child)
        child.start()

    def _migrate(self) -> None:
        settings = self._settings.model_copy(update={"home": self.home})
        database = Database(settings.database)
        try:
            migrate(database)
        finally:
            database.dispose()

    def _await_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        answer = "no answer"

        def ready() -> bool:
            nonlocal answer
            try:
                response = httpx.get(f"{self.url}/readyz", timeout=2.0)
            except httpx.HTTPError as error:
                answer = str(error)
                return False
            answer = response.text
            return response.is_success

        while True:
            self.check()
            if ready():
                return
            if time.monotonic() > deadline:
                raise StartFailed(
                    f"the service was not ready after {READY_SECONDS:.0f} s: {answer}\n"
                    f"{self.child('api').last_lines()}"
                )
            time.sleep(0.05)

    def _keep_up(self) -> None:
        while not self._stopping.wait(0.3):
            for child in self._children:
                if child.alive or self._stopping.is_set():
                    continue
                since = time.monotonic() - CRASH_WINDOW_SECONDS
                if sum(start > since for start in child.starts) >= CRASHES_ALLOWED:
                    self.failure = (
                        f"the {child.name} ended {CRASHES_ALLOWED} times within a minute; "
                        f"its log ({child.log}) ends:\n{child.last_lines()}"
                    )
                    return
                child.start()

    def _stop(self) -> None:
        self._stopping.set()
        # The broker last: the others still answer it while they end.
        parts = [child for child in self._children if child.name != "broker"]
        for group in (parts, [child for child in self._children if child not in parts]):
            for child in group:
                child.ask_to_stop()
            deadline = time.monotonic() + STOP_SECONDS
            for child in group:
                child.wait(deadline - time.monotonic())
                child.kill()
