"""The queue: one Celery configuration for API and workers, and the broker as the relay's bell.

Messages carry a job's id and nothing else. Settings follow what the sources of Celery and kombu
show: late acknowledgement, no prefetch, queues instead of priorities, JSON only, and no result
backend (the database holds every result).
"""

from typing import Any, Protocol

from celery import Celery
from kombu import Exchange, Queue
from kombu.exceptions import ChannelError, OperationalError

from service.errors import Problem
from service.settings import Settings

QUEUES = ("ingest", "remix")
TASK_PREFIX = "reprise."


class BrokerNotConfigured(Problem):
    """No broker address is known to this process."""

    status = 503
    slug = "broker-not-configured"
    title = "No broker is configured"
    limit = "a broker"
    changed_by = "the operator, in the settings"


class BrokerAway(Exception):
    """The broker cannot be reached or did not take a message; try again later."""


class Bell(Protocol):
    """The broker as the relay needs it."""

    def ring(self, queue: str, task: str, job_id: str) -> None:
        """Send one message for a stage (`task`) of a job; raises `BrokerAway`."""

    def depth(self, queue: str) -> int:
        """Messages of `queue` lying in the broker; raises `BrokerAway`."""


def celery_app(settings: Settings) -> Celery:
    """The Celery application of API and workers, without tasks; raises `BrokerNotConfigured`."""
    if settings.broker_url is None:
        raise BrokerNotConfigured(
            "set REPRISE_BROKER_URL to a Redis-protocol address (redis://host:port/0), or use "
            "`reprise up`, which starts the embedded one"
        )
    app = Celery("reprise", broker=settings.broker_url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        # A failed task is acknowledged: the database decides about another attempt.
        task_acks_on_failure_or_timeout=True,
        task_publish_retry=False,
        # An exchange each: on the default one every queue would get every message.
        task_queues=[Queue(name, Exchange(name), routing_key=name) for name in QUEUES],
        task_default_queue="remix",
        task_create_missing_queues=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_hijack_root_logger=False,
        # Our log handler writes to stderr: redirected, each line would go round in a circle.
        worker_redirect_stdouts=False,
        worker_soft_shutdown_timeout=10.0,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            # Redelivery is the reaper's work; the broker's own comes last (and is harmless).
            "visibility_timeout": int(2 * settings.job_deadline_seconds),
            "socket_connect_timeout": 2.0,
            "socket_keepalive": True,
            "max_retries": 1,
            "interval_start": 0.0,
            "interval_step": 0.1,
            "interval_max": 0.2,
        },
        enable_utc=True,
        timezone="UTC",
    )
    return app


class CeleryBell:
    """Rings a Celery broker."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        transport: Any = app.connection_for_read().transport
        self._errors: tuple[type[Exception], ...] = (
            OperationalError,
            *transport.connection_errors,
            *transport.channel_errors,
        )

    def ring(self, queue: str, task: str, job_id: str) -> None:
        """Send the message `reprise.<task>(job_id)` to `queue`; raises `BrokerAway`."""
        try:
            with self._app.connection_for_write() as connection:
                self._app.send_task(
                    TASK_PREFIX + task, args=[job_id], queue=queue, connection=connection
                )
        except self._errors as error:
            raise BrokerAway(str(error)) from error

    def depth(self, queue: str) -> int:
        """Messages of `queue` lying in the broker; raises `BrokerAway`."""
        try:
            with self._app.connection_for_read() as connection:
                return int(
                    connection.default_channel.queue_declare(queue, passive=True).message_count
                )
        except ChannelError:
            return 0  # An empty queue does not exist on Redis.
        except self._errors as error:
            raise BrokerAway(str(error)) from error

    def check(self) -> None:
        """Raise `BrokerAway` unless the broker answers (for /readyz)."""
        self.depth(QUEUES[0])
