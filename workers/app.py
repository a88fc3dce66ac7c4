"""The worker's Celery application: `celery --app workers.app worker --pool threads`.

One process per GPU (or one for the CPU): threads feed the engines, and a fork would break CUDA.
"""

from service.logs import configure_logs
from service.queue import celery_app
from service.settings import get_settings
from workers.tasks import register
from workers.workplace import Workplace

configure_logs()
app = celery_app(get_settings())
place = Workplace.of(get_settings())
place.sweep()
register(app, place)
