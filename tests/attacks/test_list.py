"""docs/attacks.md and the tests are in step: every attack is tried, and every try is listed."""

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIST = ROOT / "docs/attacks.md"
Row = tuple[str, str, str, set[str]]


def listed() -> dict[str, Row]:
    """The table: attack to its who, what stops it, and its test files."""
    rows = {}
    for line in LIST.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 4 and cells[0] not in ("attack", "---"):
            name, who, stops, tests = cells
            assert name not in rows, f"{name} is listed twice"
            rows[name] = (name, who, stops, set(re.findall(r"`([^`]+)`", tests)))
    return rows


def marked() -> dict[str, set[str]]:
    """Attack to the files with tests that are marked with it, read without running them."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text()
        if "mark.attack(" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and ast.unparse(node.func) == "pytest.mark.attack"
            ):
                (name,) = node.args
                assert isinstance(name, ast.Constant), f"{path}: an attack's name is text"
                assert isinstance(name.value, str)
                found[name.value].add(str(path.relative_to(ROOT / "tests")))
    return found


def test_every_attack_is_tried_and_every_try_is_listed() -> None:
    table, marks = listed(), marked()
    assert set(table) == set(marks)
    assert len(table) > 40


def test_the_list_names_the_tests_that_there_are() -> None:
    table, marks = listed(), marked()
    wrong = {name: marks[name] ^ table[name][3] for name in table}
    assert {name: files for name, files in wrong.items() if files} == {}


def test_what_stops_an_attack_is_there() -> None:
    for name, who, stops, _ in listed().values():
        assert who, name
        modules = re.findall(r"`([^`]+)`", stops)
        assert modules, f"{name}: nothing stops it"
        for module in modules:
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").is_file() or path.is_dir(), (name, module)
