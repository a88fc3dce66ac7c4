"""The house rule that matters most, as a check of the source: no Permit, no audio.

Consent is worth what its enforcement is worth, and an enforcement that every author has to
remember is worth nothing. So the code is read, not the authors trusted:

(a) Only `service/consent/gate.py` makes a `Permit`. Anywhere else the class may stand in imports,
    annotations and type aliases only: it is not called, renamed, or copied with changes.
(b) A function that is given or gives `Audio`, that makes one, or that calls `put`, `fetch` or
    `stream` of the object store, has a parameter annotated `Permit` (its own, or that of the
    function it stands in). Exempt are the methods of `Audio` and `ObjectStore` themselves.

`workers/training` and `workers/benchmarks` are exempt: they handle only audio that they composed
themselves, and a forbidden-import contract (import-linter, "training and benchmarks reach no
track") keeps them from the storage and the catalogue.

Run it by hand: `python tests/architecture/permit_check.py`.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GATE = "service/consent/gate.py"
DEFINITION = "service/permit.py"
ROOMS = ("service", "workers")
EXEMPT_FOLDERS = ("workers/training/", "workers/benchmarks/")
EXEMPT_CLASSES = {"workers/audio.py": "Audio", "service/storage.py": "ObjectStore"}
STORE_METHODS = frozenset({"put", "fetch", "stream"})
# Receivers of methods with the same names that are no object store. Anything not listed here is
# taken for one: a new name has to be thought about.
NOT_THE_STORE = frozenset({"_http", "_jobs", "httpx", "obstore", "request", "router"})

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass(frozen=True)
class Violation:
    """A place that breaks a rule."""

    path: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: ({self.rule}) {self.message}"


def check_source(source: str, path: str) -> list[Violation]:
    """The violations in one file; `path` is relative to the repository, with slashes."""
    if path.startswith(EXEMPT_FOLDERS):
        return []
    tree = ast.parse(source, path)
    found = [] if path in (GATE, DEFINITION) else list(_permits_made(tree, path))
    visitor = _Audio(path)
    visitor.visit(tree)
    return found + visitor.found


def check_tree(root: Path) -> list[Violation]:
    """The violations in the service and the workers of the repository at `root`."""
    return [
        violation
        for room in ROOMS
        for file in sorted((root / room).rglob("*.py"))
        for violation in check_source(
            file.read_text(encoding="utf-8"), file.relative_to(root).as_posix()
        )
    ]


def _permits_made(tree: ast.Module, path: str) -> Iterator[Violation]:
    annotations = {
        id(inner)
        for node in ast.walk(tree)
        for annotation in _annotations(node)
        for inner in ast.walk(annotation)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            for alias in node.names:
                if alias.name.split(".")[-1] == "Permit" and alias.asname not in (None, "Permit"):
                    yield Violation(path, node.lineno, "a", "Permit is imported under another name")
        elif _is_named(node, "Permit") and id(node) not in annotations:
            yield Violation(
                path, node.lineno, "a", f"only {GATE} makes or handles the class Permit"
            )
        elif (
            isinstance(node, ast.Call)
            and _last_name(node.func) in {"replace", "copy", "deepcopy", "__replace__"}
            and any("permit" in (_last_name(argument) or "").lower() for argument in node.args)
        ):
            yield Violation(path, node.lineno, "a", "a Permit is copied, perhaps with changes")


class _Audio(ast.NodeVisitor):
    """Walks functions with what encloses them in mind."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.found: list[Violation] = []
        self._classes: list[str] = []
        self._permitted: list[bool] = []

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._classes.append(node.name)
        # A class's own annotated fields are data; what uses them is a function.
        self.generic_visit(node)
        self._classes.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node, node.name)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node, node.name)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._function(node, "lambda")

    def visit_Call(self, node: ast.Call) -> None:
        if _last_name(node.func) == "Audio":
            self._need(node, "makes Audio")
        elif _is_store_call(node):
            self._need(node, f"calls {ast.unparse(node.func)}")
        self.generic_visit(node)

    def _function(self, node: Function, name: str) -> None:
        for decorator in getattr(node, "decorator_list", []):
            self.visit(decorator)
        permitted = any(_mentions(a.annotation, "Permit") for a in _parameters(node))
        self._permitted.append(permitted)
        returns = getattr(node, "returns", None)
        if any(_mentions(a.annotation, "Audio") for a in _parameters(node)):
            self._need(node, f"{name} is given Audio")
        elif _mentions(returns, "Audio"):
            self._need(node, f"{name} gives Audio")
        for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(default)
        body = node.body if isinstance(node.body, list) else [node.body]
        for statement in body:
            self.visit(statement)
        self._permitted.pop()

    def _need(self, node: ast.expr | ast.stmt, what: str) -> None:
        if any(self._permitted):
            return
        if self._classes[:1] == [EXEMPT_CLASSES.get(self.path)]:
            return
        self.found.append(
            Violation(self.path, node.lineno, "b", f"{what}, and no parameter is a Permit")
        )


def _annotations(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        yield from (a.annotation for a in _parameters(node) if a.annotation is not None)
        if node.returns is not None:
            yield node.returns
    elif isinstance(node, ast.AnnAssign):
        yield node.annotation
    elif isinstance(node, ast.Subscript):
        # A type alias such as `Callable[[Permit, Work], Made]`: nothing in brackets is called.
        yield node.slice


def _parameters(node: Function) -> list[ast.arg]:
    arguments = node.args
    extra = [a for a in (arguments.vararg, arguments.kwarg) if a is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *extra]


def _mentions(annotation: ast.expr | None, name: str) -> bool:
    """Whether an annotation names the type, in whatever container, as a name or in quotes."""
    if annotation is None:
        return False
    for node in ast.walk(annotation):
        if _is_named(node, name):
            return True
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                quoted = ast.parse(node.value, mode="eval").body
            except SyntaxError:
                continue
            if _mentions(quoted, name):
                return True
    return False


def _is_named(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name | ast.Attribute) and _last_name(node) == name


def _last_name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    return None


def _is_store_call(node: ast.Call) -> bool:
    if not isinstance(node.func, ast.Attribute) or node.func.attr not in STORE_METHODS:
        return False
    return _last_name(node.func.value) not in NOT_THE_STORE


if __name__ == "__main__":
    violations = check_tree(Path(__file__).resolve().parents[2])
    for violation in violations:
        print(violation)  # noqa: T201
    sys.exit(bool(violations))
