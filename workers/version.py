"""Which version of this code runs: artefacts are made by it, and every credential names it."""

from importlib.metadata import PackageNotFoundError, version


def _code_version() -> str:
    try:
        return version("reprise")
    except PackageNotFoundError:
        return "0+uninstalled"


CODE_VERSION = _code_version()

REVISIONS: dict[str, int] = {"separate": 1, "regenerate": 3, "mix": 2, "stamp": 2}
"""Of each stage, raised when its code gives other samples for the same input: what was made or
measured before is left."""
