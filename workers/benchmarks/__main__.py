"""`python -m workers.benchmarks quality|listen|engine|…`, which `reprise bench` runs."""

import importlib
import sys
from importlib.util import find_spec

COMMANDS = ("quality", "listen", "curve", "watermark", "separation", "engine")
_NEEDED = ("librosa", "mir_eval", "sklearn", "matplotlib", "demucs")
_SERVED = ("separation",)
"""These need nothing but what the service itself does."""


def main() -> int:
    """Run one benchmark; without the packages that measure, say how to get them."""
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        print(f"usage: reprise bench {{{','.join(COMMANDS)}}} …", file=sys.stderr)
        return 2
    needed = () if sys.argv[1] in _SERVED else _NEEDED
    absent = [name for name in needed if find_spec(name) is None]
    if absent:
        how = "pip install --constraint constraints.txt '.[train]'"
        print(f"Measuring needs {', '.join(absent)}: {how}", file=sys.stderr)
        return 1
    command = importlib.import_module(f"workers.benchmarks.{sys.argv[1]}")
    return int(command.main(sys.argv[2:]))


if __name__ == "__main__":
    sys.exit(main())
