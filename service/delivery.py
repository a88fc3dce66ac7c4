"""Delivery: a stored object over HTTP, whole or in part (RFC 9110 section 14)."""

import re
from urllib.parse import quote

from fastapi.responses import Response, StreamingResponse

from service.errors import Problem
from service.permit import Permit
from service.storage import ObjectStore

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class RangeNotSatisfiable(Problem):
    """The range asked for lies outside the file."""

    status = 416
    slug = "range-not-satisfiable"
    title = "The range lies outside the file"
    limit = "the file's size"
    changed_by = "you, by asking for bytes that there are"


def deliver(
    objects: ObjectStore,
    permit: Permit,
    digest: str,
    *,
    media_type: str,
    filename: str,
    range_header: str | None = None,
    if_none_match: str | None = None,
) -> Response:
    """Stream the object `digest` to a player.

    One byte range is served (players ask for one); several, or another unit, get the whole file,
    as the RFC allows. The ETag is the content's own hash, so it never goes stale.

    :param filename: offered for saving.
    :raises RangeNotSatisfiable: 416, with the size in Content-Range.
    :raises NotFound: the object is not in the store.
    """
    size = objects.size(digest)
    etag = f'"{digest}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(filename, safe='')}",
    }
    if if_none_match is not None and etag in (tag.strip() for tag in if_none_match.split(",")):
        return Response(status_code=304, headers=headers)
    part = parse_range(range_header, size)
    start, length = part or (0, size)
    headers["Content-Length"] = str(length)
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
    return StreamingResponse(
        objects.stream(permit, digest, start, length),
        status_code=200 if part is None else 206,
        media_type=media_type,
        headers=headers,
    )


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Start and length of the one range asked for; None to serve the whole file.

    Raises `RangeNotSatisfiable`.
    """
    found = _RANGE.fullmatch(header.strip()) if header else None
    if found is None or found.group(1) == found.group(2) == "":
        return None
    first, last = found.groups()
    if first == "":
        start, end = max(0, size - int(last)), size - 1
        satisfiable = int(last) > 0 and size > 0
    else:
        start = int(first)
        end = min(int(last), size - 1) if last else size - 1
        if last and int(last) < start:
            return None  # Invalid, which the RFC says to ignore.
        satisfiable = start < size
    if not satisfiable:
        raise RangeNotSatisfiable(
            f"the file has {size} bytes", headers={"Content-Range": f"bytes */{size}"}
        )
    return start, end - start + 1
