"""Every finder that this service has, in the order in which they are asked."""

from service.database import Database
from service.provenance.finders import Finder
from service.provenance.finders.by_sound import BySound
from service.provenance.finders.by_watermark import ByWatermark
from service.settings import Settings


def finders_of(settings: Settings, database: Database) -> tuple[Finder, ...]:
    """The watermark first, which tells siblings apart; then the sound."""
    return ByWatermark(database, settings), BySound(database)
