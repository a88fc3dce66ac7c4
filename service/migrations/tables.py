"""Every room's tables, imported so that the metadata knows them all."""

from service.catalog import models as catalog
from service.consent import models as consent
from service.ingestion import models as ingestion
from service.jobs import models as jobs
from service.provenance import models as provenance
from service.recognition import models as recognition
from service.royalties import models as royalties
from service.templates import models as templates
from service.transparency import models as transparency

ALL = (
    catalog,
    templates,
    consent,
    ingestion,
    jobs,
    royalties,
    provenance,
    recognition,
    transparency,
)
