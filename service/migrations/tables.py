"""Every room's tables, imported so that the metadata knows them all."""

from service.catalog import models as catalog
from service.consent import models as consent
from service.ingestion import models as ingestion
from service.jobs import models as jobs
from service.provenance import models as provenance
from service.royalties import models as royalties
from service.templates import models as templates

ALL = (catalog, templates, consent, ingestion, jobs, royalties, provenance)
