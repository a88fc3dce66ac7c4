"""Which version of this code runs: artefacts are made by it, and every credential names it."""

from importlib.metadata import PackageNotFoundError, version


def _code_version() -> str:
    try:
        return version("reprise")
    except PackageNotFoundError:
        return "0+uninstalled"


CODE_VERSION = _code_version()
