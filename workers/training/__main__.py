"""`python -m workers.training {data,separator,codec,generator} …`: one command per kind of weights.

Each subcommand is a module's `main(argv)`, imported only when it is asked for: making data needs
no torch.
"""

import importlib
import sys

COMMANDS = {
    "data": ("workers.training.data.corpus", "compose and render the corpus"),
    "separator": ("workers.training.separator", "train the separator"),
    "codec": ("workers.training.codecs", "train, export and measure a stem codec"),
    "generator": ("workers.training.generator", "train a part's generator"),
}


def main(argv: list[str]) -> int:
    """Dispatch to a subcommand; returns its exit status, 2 where there is no such command."""
    if not argv or argv[0] not in COMMANDS:
        asked_for_help = bool(argv) and argv[0] in ("-h", "--help")
        out = sys.stdout if asked_for_help else sys.stderr
        print("usage: python -m workers.training COMMAND [options]\n", file=out)
        for name, (_, purpose) in COMMANDS.items():
            print(f"  {name:<10} {purpose}", file=out)
        return 0 if asked_for_help else 2
    module = importlib.import_module(COMMANDS[argv[0]][0])
    return int(module.main(argv[1:]) or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
