"""A watchdog over a model: a device that does not answer cannot be asked to stop.

So the process ends: its jobs' leases run out, and others take them.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Hashable

log = logging.getLogger(__name__)

WEDGED_S = 120.0
"""A step takes milliseconds; two minutes of nothing are no slow machine."""

LOOK_S = 1.0
"""Looks are at most so far apart."""


def end_process() -> None:
    """End this process at once, with the status of a software failure (sysexits.h)."""
    os._exit(os.EX_SOFTWARE)


class Watchdog:
    """Looks at who is at work with a model, and acts when one of them stands still.

    Its thread lives while somebody is at work, and holds nothing of the model.

    :param name: of what is watched, for the log.
    :param wedged_s: seconds without a sign of life after which `on_wedged` is called, once.
    :param on_wedged: by default the process ends.
    """

    def __init__(
        self,
        name: str,
        wedged_s: float = WEDGED_S,
        on_wedged: Callable[[], None] = end_process,
    ) -> None:
        self._name, self._wedged_s, self._on_wedged = name, wedged_s, on_wedged
        self._lock = threading.Lock()
        self._beats: dict[Hashable, int] = {}
        self._count = 0
        self._awake = self._done = False

    def beat(self, who: Hashable = None) -> None:
        """A sign of life of one that is at work until it rests; safe from any thread."""
        with self._lock:
            self._count += 1
            self._beats[who] = self._count
            if self._awake or self._done:
                return
            self._awake = True
        threading.Thread(target=self._watch, name=f"watchdog-{self._name}", daemon=True).start()

    def rest(self, who: Hashable = None) -> None:
        """It is at work no more; nothing is wrong with saying so twice."""
        with self._lock:
            self._beats.pop(who, None)

    def _watch(self) -> None:
        look_s = min(LOOK_S, self._wedged_s / 4)
        seen: dict[Hashable, int] = {}
        stood: dict[Hashable, float] = {}
        while True:
            with self._lock:
                beats = dict(self._beats)
                if not beats:
                    self._awake = False
                    return
            # Looks are counted, not the clock: a process that was halted itself has not waited.
            stood = {
                who: stood.get(who, 0.0) + look_s if seen.get(who) == beat else 0.0
                for who, beat in beats.items()
            }
            if max(stood.values()) > self._wedged_s:
                self._done = True
                log.critical(
                    "%s: no step has ended for %.0f s; the device does not answer",
                    self._name, self._wedged_s,
                )  # fmt: skip
                self._on_wedged()
                return
            seen = beats
            time.sleep(look_s)
