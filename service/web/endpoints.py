"""The pages and their files, with a policy that lets nothing but our own scripts run."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse

from service.errors import NotFound

STATIC = Path(__file__).with_name("static")
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = {
    # Content Security Policy Level 3: no inline script or style, no other origin, no framing.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'; "
        # No text ever becomes markup or a script (W3C Trusted Types): nothing makes a type.
        "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    # The development token travels in the fragment; nothing of the address leaves the page.
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

router = APIRouter(include_in_schema=False)


@router.get("/")
def page() -> FileResponse:
    """The listener's page."""
    return _file("index.html")


@router.get("/owners")
def owners_page() -> FileResponse:
    """The owners' page."""
    return _file("owners.html")


@router.get("/operators")
def operators_page() -> FileResponse:
    """The operators' page."""
    return _file("operators.html")


@router.get("/verify")
def verify_page() -> FileResponse:
    """The page that says of any file what is known of it."""
    return _file("verify.html")


@router.get("/static/{name}")
def static(
    name: Annotated[str, PathParameter(pattern=r"^[a-z][a-z-]*\.(css|js|svg)$")],
) -> FileResponse:
    """A file of the pages."""
    return _file(name)


def _file(name: str) -> FileResponse:
    path = STATIC / name
    if not path.is_file():
        raise NotFound(f"the pages have no file {name}")
    return FileResponse(path, media_type=MEDIA_TYPES[path.suffix], headers=HEADERS)
