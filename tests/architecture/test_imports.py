"""Imports run one way: import-linter's contracts hold, and a planted import breaks one."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINT = (
    "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
)


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LINT],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_contracts_hold() -> None:
    found = lint(ROOT)
    assert found.returncode == 0, found.stdout + found.stderr
    assert " 0 broken" in found.stdout


def test_a_planted_upward_import_is_found(tmp_path: Path) -> None:
    for name in ("checkpoints", "service", "workers"):
        shutil.copytree(
            ROOT / name,
            tmp_path / name,
            ignore=shutil.ignore_patterns("__pycache__", "*.safetensors", "static"),
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    models = tmp_path / "service/catalog/models.py"
    models.write_text("import torch\nfrom service.consent import gate\n" + models.read_text())
    found = lint(tmp_path)
    assert found.returncode != 0
    assert "service.catalog.models -> service.consent" in found.stdout
    assert "service.catalog.models -> torch" in found.stdout
