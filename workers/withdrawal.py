"""Withdrawal: adapters whose consent has ended are unloaded, and deleted from this machine."""

import json
import logging
import shutil
import threading
import time
from pathlib import Path

import structlog
from sqlalchemy.exc import DBAPIError

from checkpoints import registry
from checkpoints.card import CARD_NAME
from checkpoints.withdrawing import withdraw
from service.consent import gate
from service.consent.models import Adapter
from service.consent.refusals import ConsentRefused
from service.consent.training.adapters import deleted, mark_ended
from service.database import Database
from service.errors import InvalidRequest
from service.settings import Settings
from workers.models import Models

log = structlog.get_logger(__name__)

ORDER = "order.json"
"""In the folder of a training run: the grants it rests on, and its recipe."""

LOOK_SECONDS = 1.0
SWEEP_SECONDS = 60.0


def run_folder(settings: Settings, name: str) -> Path:
    """Where a training of this adapter keeps its clips and state until it ends.

    Raises `InvalidRequest` for what is no name: folders are deleted by it.
    """
    if not CARD_NAME.fullmatch(name):
        raise InvalidRequest(f"{name!r} cannot be an adapter's name")
    return settings.home / "adapters" / name


def sweep_adapters(database: Database, settings: Settings) -> list[str]:
    """Delete what lies here without consent: marked adapters, and runs whose grants have ended.

    Every machine sweeps its own folders. Returns what was deleted, in words.
    """
    with database.transaction() as session:
        mark_ended(session)
    done = []
    for card in registry.cards():
        if card.role != "adapter":
            continue
        with database.transaction() as session:
            adapter = session.get(Adapter, card.name)
            # What is not recorded here is refused, but it is another house's to delete.
            if adapter is None or adapter.state == "ready":
                continue
            if card.withdrawn is None or registry.folder(card).exists():
                withdraw(card, adapter.reason or "the consent to its training has ended")
                done.append(f"adapter {card.name}: {adapter.reason}")
            if adapter.state == "marked":
                deleted(session, card.name)
    for order in sorted((settings.home / "adapters").glob(f"*/{ORDER}")):
        if not _rests_on_consent(database, order):
            shutil.rmtree(order.parent)
            done.append(f"training run {order.parent.name}: the consent to it has ended")
    for line in done:
        log.info("withdrawn", what=line)
    return done


def _rests_on_consent(database: Database, order: Path) -> bool:
    try:
        generations = json.loads(order.read_text(encoding="utf-8"))["generations"]
        with database.snapshot() as session:
            gate.check_training(session, generations)
    except (ConsentRefused, ValueError, KeyError, TypeError):
        return False
    return True


class AdapterWatch:
    """A thread that unloads adapters the moment their consent ends, and sweeps now and then.

    What cannot be known counts as a no: when the database has not answered for as long as a lease
    lasts, every adapter is unloaded (and loaded again when the gate next opens for one).
    """

    def __init__(self, database: Database, settings: Settings, models: Models) -> None:
        self._database = database
        self._settings = settings
        self._models = models
        self._ended = threading.Event()
        self._answered = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="adapter-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch, until the process ends or `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join()

    def look(self) -> None:
        """Unload what must not be loaded now."""
        for grants in self._models.adapted():
            try:
                with self._database.snapshot() as session:
                    gate.check_training(session, grants)
                self._answered = time.monotonic()
            except ConsentRefused:
                self._models.unload(grants)
            except DBAPIError as error:
                log.warning("adapter_watch_unanswered", error=str(error.orig))
                if time.monotonic() - self._answered > self._settings.lease_seconds:
                    self._models.unload(grants)

    def _run(self) -> None:
        swept = -SWEEP_SECONDS
        while not self._ended.wait(LOOK_SECONDS):
            self.look()
            if time.monotonic() - swept >= SWEEP_SECONDS:
                swept = time.monotonic()
                self._sweep()

    def _sweep(self) -> None:
        try:
            sweep_adapters(self._database, self._settings)
        # A sweep that fails (a disk, a card by hand) is tried again, and ends nothing else.
        except Exception:
            logging.getLogger(__name__).exception("adapters could not be swept")
