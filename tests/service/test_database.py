"""What was committed is kept: also when the power goes."""

import subprocess
import sys
from pathlib import Path

ASK = """
import sys
from service.database import Database

with Database(sys.argv[1]).transaction() as session:
    for name in ("synchronous", "journal_mode", "foreign_keys"):
        print(session.connection().exec_driver_sql(f"PRAGMA {name}").scalar_one())
"""


def test_a_commit_on_sqlite_is_on_the_disk_before_it_is_seen(tmp_path: Path) -> None:
    """In a process of its own: the tests' own databases live in folders that nobody keeps."""
    told = subprocess.run(
        [sys.executable, "-c", ASK, f"sqlite:///{tmp_path / 'kept.db'}"],
        capture_output=True,
        text=True,
        check=True,
    )
    full = "2"
    assert told.stdout.split() == [full, "wal", "1"]
