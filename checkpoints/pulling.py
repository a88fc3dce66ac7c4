"""Pulling: an operator fetches a public checkpoint once; it is kept in the cache and verified.

Only https and file URLs are followed, nothing is written under its final name before its hash has
been checked, and an interrupted fetch goes on where it stopped (RFC 9110 section 14, ranges).
"""

import fcntl
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlparse

import httpx

from checkpoints import registry
from checkpoints.card import Card, FileSpec
from checkpoints.errors import (
    CheckpointHashMismatch,
    CheckpointLicence,
    CheckpointPickleRefused,
    CheckpointPullFailed,
)

Progress = Callable[[str, int, int | None], None]

_CHUNK = 1 << 18
_MAX_BYTES = 16 * 1024**3


def pull(
    name: str,
    *,
    non_commercial: bool = False,
    source: Path | None = None,
    progress: Progress | None = None,
    tls: ssl.SSLContext | None = None,
) -> registry.OpenCheckpoint:
    """Fetch a card's files to the cache, check their hashes and open the checkpoint.

    :param non_commercial: the operator's word that the use is not commercial; without it, weights
        whose licence forbids commercial use are not fetched.
    :param source: a folder that already holds the files (a machine without network).
    :param progress: told (file name, bytes so far, bytes in all or None).
    :param tls: trust for https, where the system's own does not do.
    :raises UnknownCheckpoint, CheckpointPickleRefused, CheckpointUnsealed: see `registry.open`.
    :raises CheckpointLicence: see `non_commercial`.
    :raises CheckpointPullFailed: no file at the address, or no answer.
    :raises CheckpointHashMismatch: what came is not what the card names; nothing is kept.
    """
    card = registry.card(name)
    registry.require_loadable(card)
    if not card.commercial_use and not non_commercial:
        raise CheckpointLicence(
            f"the weights of {card.name} are under {card.licence}, which forbids commercial use. "
            f"If your use is not commercial, say so: `reprise models pull {card.name} "
            "--non-commercial`. Commercial templates are refused with it in any case."
        )
    _ = card.digest
    if not card.bundled:
        target = registry.folder(card)
        target.mkdir(parents=True, exist_ok=True)
        for file_name, spec in card.files.items():
            _pull_file(card, file_name, spec, target / file_name, source, progress, tls)
    return registry.open(card.name, commercial=not non_commercial)


def _pull_file(
    card: Card,
    name: str,
    spec: FileSpec,
    target: Path,
    source: Path | None,
    progress: Progress | None,
    tls: ssl.SSLContext | None,
) -> None:
    partial = target.with_name(name + ".part")
    with partial.open("ab") as sink:
        # Two pulls of one file: the second waits, then finds it done.
        fcntl.flock(sink, fcntl.LOCK_EX)
        if target.is_file():
            registry.verify(card, name, spec, target)
            partial.unlink(missing_ok=True)
            return
        limit = spec.bytes or _MAX_BYTES
        for chunk in _chunks(card, name, spec, sink.tell(), source, tls):
            if chunk is None:
                sink.truncate(0)
                continue
            sink.write(chunk)
            if sink.tell() > limit:
                partial.unlink()
                raise CheckpointHashMismatch(
                    f"{card.name}: {name} is larger than the {limit} bytes its card says; the "
                    "rest was not fetched and nothing was kept."
                )
            if progress is not None:
                progress(name, sink.tell(), spec.bytes)
        sink.flush()
        try:
            registry.verify(card, name, spec, partial)
        except (CheckpointHashMismatch, CheckpointPickleRefused):
            partial.unlink()
            raise
        partial.replace(target)


def _chunks(
    card: Card,
    name: str,
    spec: FileSpec,
    start: int,
    source: Path | None,
    tls: ssl.SSLContext | None,
) -> Iterator[bytes | None]:
    """The file's bytes from `start`; a None says that they begin at zero again."""
    url = spec.url
    if source is not None:
        local = source / name
    elif url is None:
        raise CheckpointPullFailed(
            f"{card.name}: its card gives no address for {name}. Fetch it by hand and run "
            f"`reprise models pull {card.name} --from FOLDER`."
        )
    elif url.startswith("file://"):
        local = Path(unquote(urlparse(url).path))
    else:
        yield from _https_chunks(card, name, url, start, tls)
        return
    try:
        with local.open("rb") as opened:
            opened.seek(start)
            yield from _read(opened)
    except OSError as error:
        raise CheckpointPullFailed(f"{card.name}: {name}: {error}") from error


def _read(opened: BinaryIO) -> Iterator[bytes]:
    while chunk := opened.read(_CHUNK):
        yield chunk


def _https_chunks(
    card: Card, name: str, url: str, start: int, tls: ssl.SSLContext | None
) -> Iterator[bytes | None]:
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        with (
            httpx.Client(
                follow_redirects=True,
                timeout=30.0,
                verify=tls if tls is not None else True,
                event_hooks={"request": [_require_https]},
            ) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # it was complete already; the hash decides
            response.raise_for_status()
            if start and response.status_code != httpx.codes.PARTIAL_CONTENT:
                yield None
            yield from response.iter_raw(_CHUNK)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CheckpointPullFailed(
            f"{card.name}: {name} could not be fetched from {url}: {error}. Try again (it goes on "
            f"where it stopped), or fetch it by hand and use `--from FOLDER`."
        ) from error


def _require_https(request: httpx.Request) -> None:
    if request.url.scheme != "https":
        raise httpx.UnsupportedProtocol(f"redirected to {request.url.scheme}, which is refused")
