"""Storage: audio objects, named by the SHA-256 of their bytes, in a folder or a cloud bucket.

Objects are never overwritten, so writing one twice is free and a retry resumes where it ended.
Every method needs the Permit of the stage that reads or makes the audio.
"""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import LocalStore, from_url

from service.errors import NotFound
from service.permit import Permit

CHUNK_BYTES = 1 << 20


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


class ObjectStore:
    """A content-addressed object store behind an obstore URL (`file:`, `s3:`, `gs:`, `az:`)."""

    def __init__(self, url: str) -> None:
        if url.startswith("file://"):
            Path(url.removeprefix("file://")).mkdir(parents=True, exist_ok=True)
            self._store: obstore.store.ObjectStore = LocalStore(url.removeprefix("file://"))
        else:
            self._store = from_url(url)

    def put(self, permit: Permit, path: Path) -> str:
        """Keep the file at `path`; returns its SHA-256 (hex), which is its name here."""
        permit.require(permit.stage)
        digest = file_sha256(path)
        try:
            with path.open("rb") as source:
                obstore.put(self._store, _key(digest), source, mode="create")
        except AlreadyExistsError:
            pass
        return digest

    def fetch(self, permit: Permit, digest: str, destination: Path) -> Path:
        """Copy an object to `destination` and check its hash; raises `NotFound`."""
        permit.require(permit.stage)
        temporary = destination.with_name(destination.name + ".part")
        with temporary.open("wb") as sink:
            for chunk in self.stream(permit, digest):
                sink.write(chunk)
        if file_sha256(temporary) != digest:
            temporary.unlink()
            raise NotFound(f"object {digest} is damaged in the store")
        temporary.replace(destination)
        return destination

    def stream(
        self, permit: Permit, digest: str, start: int = 0, length: int | None = None
    ) -> Iterator[bytes]:
        """The object's bytes (all, or `length` from `start`) in chunks; raises `NotFound`."""
        permit.require(permit.stage)
        end = self.size(digest) if length is None else start + length
        while start < end:
            count = min(CHUNK_BYTES, end - start)
            yield bytes(obstore.get_range(self._store, _key(digest), start=start, length=count))
            start += count

    def size(self, digest: str) -> int:
        """An object's size in bytes; raises `NotFound`."""
        try:
            return int(obstore.head(self._store, _key(digest))["size"])
        except FileNotFoundError as error:
            raise NotFound(f"object {digest} is not in the store") from error

    def exists(self, digest: str) -> bool:
        """Whether the object is kept here."""
        try:
            self.size(digest)
        except NotFound:
            return False
        return True

    def delete(self, digest: str) -> None:
        """Remove an object; nothing happens if it is not there. Callers check for other uses."""
        with contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, _key(digest))

    def digests(self) -> Iterator[str]:
        """Every object's name (for audits and garbage collection)."""
        for page in obstore.list(self._store):
            for meta in page:
                yield meta["path"].rsplit("/", 1)[-1]


def _key(digest: str) -> str:
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise NotFound("not an object name")
    return f"sha256/{digest[:2]}/{digest}"
