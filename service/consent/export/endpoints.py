"""The exported grant, and the keys that seal it, over HTTP."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from service.catalog.endpoints import AUTH_PROBLEMS, NOT_FOUND, Owner
from service.consent.export.composing import KEYS_PATH, export_grant
from service.consent.export.document import MEDIA_TYPE, Export, Seal

router = APIRouter(tags=["consent"])


class SealedExport(Export):
    """An exported grant, as it is sent."""

    seal: Seal


class ExportResponse(JSONResponse):
    """A JSON document of a kind of its own."""

    media_type = MEDIA_TYPE


@router.get(
    "/v1/grants/{grant_id}/export",
    summary="Take a grant along as one document",
    response_class=ExportResponse,
    responses={**AUTH_PROBLEMS, **NOT_FOUND},
)
def read_export(request: Request, response: Response, grant_id: str, who: Owner) -> SealedExport:
    """Everything that a third party needs to check the grant without this service.

    What the owners signed, their signatures and keys, mandates, the template and the ownership
    that they name, and the state as of now, under the service's seal. `reprise verify-grant`
    checks it offline.
    """
    state = request.app.state
    with state.database.snapshot(steady=True) as session:
        document = export_grant(session, state.settings, state.seals, who, grant_id)
    name = document["grant"]["id"]
    response.headers["Content-Disposition"] = f'attachment; filename="{name}.json"'
    response.headers["Cache-Control"] = "no-store"
    return SealedExport.model_validate(document)


@router.get(KEYS_PATH, summary="The keys that seal exported grants")
def read_seal_keys(request: Request) -> dict[str, Any]:
    """The service's public sealing keys, past ones too, as a JWK Set (RFC 7517)."""
    published: dict[str, Any] = request.app.state.seals.published()
    return published
