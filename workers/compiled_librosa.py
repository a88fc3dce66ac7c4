"""librosa, whose compiled parts only one process at a time may make.

numba keeps what it compiled on disk, and two processes that compile the same universal functions
at once leave a pair of files that do not belong together: whoever calls such a function then, in
this process or in any later one, dies of a segmentation fault (numba issue 10128). The modules with
such functions are therefore imported here, under a lock; import librosa from here, and this module
before a library that imports librosa by itself.
"""

import os
import tempfile
from pathlib import Path

from filelock import FileLock

__all__ = ["librosa"]

LOCK = Path(tempfile.gettempdir()) / f"reprise-librosa-{os.getuid()}.lock"

with FileLock(LOCK):
    import librosa
    import librosa.beat
    import librosa.core.audio
    import librosa.core.pitch
    import librosa.util.utils
