"""`python -m service.migrations MESSAGE`: write the next revision from what the models say.

It compares them with an empty SQLite database that was brought up to the newest revision.
"""

import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.script import ScriptDirectory

from service.database import Database
from service.migrations import configuration, migrate


def main(message: str) -> None:
    """Write the revision; read it before you commit it (triggers are not detected)."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{Path(folder) / 'compare.db'}")
        migrate(database)
        config = configuration(database)
        count = len(list(ScriptDirectory.from_config(config).walk_revisions()))
        command.revision(config, message=message, autogenerate=True, rev_id=f"{count + 1:04d}")
        database.dispose()


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]) or "unnamed")
