"""`python -m workers.adapters`, which `reprise adapter` runs."""

import sys

from workers.adapters.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
