"""numba's cache is written by one process at a time."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from filelock import FileLock

LOOK = """
import sys, threading
def load():
    import workers.compiled_librosa
loading = threading.Thread(target=load)
loading.start()
loading.join(4)
print("librosa.util.utils" in sys.modules, flush=True)
sys.stdin.readline()
loading.join()
print("librosa.util.utils" in sys.modules, flush=True)
"""


def test_who_imports_librosa_waits_for_whoever_is_compiling_it() -> None:
    lock = FileLock(Path(tempfile.gettempdir()) / f"reprise-librosa-{os.getuid()}.lock")
    with subprocess.Popen(
        [sys.executable, "-c", LOOK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        with lock:
            assert process.stdout.readline() == "False\n"
        process.stdin.write("\n")
        process.stdin.close()
        assert process.stdout.readline() == "True\n"
