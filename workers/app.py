"""The worker's Celery application: `celery --app workers.app worker --pool threads`.

One process per GPU (or one for the CPU): threads feed the engines, and a fork would break CUDA.
"""

from typing import Any

from celery.signals import worker_ready

from service.logs import configure_logs
from service.queue import celery_app
from service.settings import get_settings
from workers.pipeline import preload
from workers.tasks import register
from workers.withdrawal import AdapterWatch
from workers.workplace import Workplace

configure_logs()
place = Workplace.of(get_settings())
place.sweep()
app = celery_app(get_settings())
register(app, place)


@worker_ready.connect
def _on_ready(**_: Any) -> None:
    preload()
    place.models.watch_idle()
    AdapterWatch(place.database, place.settings, place.models).start()
