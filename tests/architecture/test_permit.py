"""No Permit, no audio: the check holds on our source, and finds every planted violation."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.permit_check import GATE, check_source, check_tree

ROOT = Path(__file__).resolve().parents[2]


def test_our_source_keeps_the_rules() -> None:
    assert [str(violation) for violation in check_tree(ROOT)] == []


def test_the_rules_are_not_kept_by_there_being_nothing_to_check() -> None:
    """The gate makes Permits, and there are functions with audio, where we think they are."""
    gate = (ROOT / GATE).read_text()
    assert [v.rule for v in check_source(gate, "service/elsewhere.py")].count("a") >= 2
    audio = (ROOT / "workers/audio.py").read_text()
    assert {
        v.rule
        for v in check_source(audio.replace("permit: Permit", "permit: object"), "workers/a.py")
    } == {"b"}


def rules(source: str, path: str = "workers/planted.py") -> list[str]:
    return [violation.rule for violation in check_source(source, path)]


@pytest.mark.parametrize(
    "source",
    [
        "permit = Permit(stage='mix')",
        "import service.permit\npermit = service.permit.Permit(stage='mix')",
        "from service.permit import Permit as P\npermit = P(stage='mix')",
        "make = Permit\npermit = make(stage='mix')",
        "permit = [Permit][0](stage='mix')",
        "permit = object.__new__(Permit)",
        "permit = type('X', (Permit,), {})()",
        "class Mine(Permit): pass",
        "def f(permit: Permit): return dataclasses.replace(permit, stage='publish')",
        "def f(permit: Permit): return replace(permit, stage='publish')",
        "def f(permit: Permit): return copy.replace(permit, stage='publish')",
        "def f(given=Permit(stage='mix')): pass",
    ],
)
def test_a_permit_made_elsewhere_is_found(source: str) -> None:
    assert "a" in rules(source)
    assert "a" in rules(source, "service/consent/grants.py")


@pytest.mark.parametrize(
    "source",
    [
        "def f(audio: Audio): pass",
        "def f(audio: 'Audio'): pass",
        "def f(audio: audio.Audio): pass",
        "def f(stems: Mapping[str, Audio]): pass",
        "def f(stems: 'dict[str, Audio]'): pass",
        "def f(audio: Audio | None = None): pass",
        "def f(*stems: Audio): pass",
        "def f(**stems: Audio): pass",
        "def f(*, audio: Audio): pass",
        "def f() -> Audio: pass",
        "def f() -> tuple[Audio, int]: pass",
        "async def f(audio: Audio): pass",
        "def f(x):\n  return Audio(x, 44100)",
        "def f(x):\n  return workers.audio.Audio(x, 44100)",
        "silence = Audio(zeros, 44100)",
        "f = lambda x: Audio(x, 44100)",
        "def f(objects, path):\n  objects.put(None, path)",
        "def f(self):\n  return self.place.objects.fetch(None, self.digest, self.path)",
        "def f(store):\n  yield from store.stream(None, 'x')",
        "def f(anything):\n  anything.fetch(None, 'x', path)",
        "def f(request):\n  request.app.state.objects.put(None, 'x')",
        "def f(request):\n  ObjectStore('file:///x').put(None, 'x')",
        "class A:\n  def f(self, audio: Audio): pass",
        "class Audio:\n  def f(self) -> Audio: pass",
        "def f(permit):\n  return Audio(x, 44100)",
        "def f(permit: object, audio: Audio): pass",
        "def outer(permit: Permit): pass\ndef f(audio: Audio): pass",
    ],
)
def test_audio_without_a_permit_is_found(source: str) -> None:
    assert rules(source) == ["b"]


@pytest.mark.parametrize(
    "source",
    [
        "def f(permit: Permit, audio: Audio) -> Audio: return Audio(audio.samples, 1)",
        "def f(permit: 'Permit', audio: Audio): pass",
        "def f(permit: Permit):\n  def g(audio: Audio): pass\n  return lambda x: Audio(x, 1)",
        "def f(permit: Permit, objects: ObjectStore):\n  objects.put(permit, path)",
        "def f(queue):\n  self._jobs.put(1)",
        "async def f(request):\n  async for chunk in request.stream(): pass",
        "@router.put('/x')\ndef f(): pass",
        "def f(audiobook: Audiobook): pass",
        "Stage = Callable[[Permit, Work], Made]",
        "permit: Permit | None = None",
        "from service.permit import Permit, PermitDenied",
        "def f(text): return text.replace('permit', 'x')",
    ],
)
def test_what_keeps_the_rules_is_let_be(source: str) -> None:
    assert rules(source) == []


def test_what_is_exempt_and_what_not() -> None:
    audio = "class Audio:\n  def mono(self) -> 'Audio': return Audio(self.x, 1)"
    assert rules(audio, "workers/audio.py") == []
    assert rules(audio, "workers/other.py") == ["b", "b"]
    store = "class ObjectStore:\n  def fetch(self): return self.stream(1)"
    assert rules(store, "service/storage.py") == []
    assert rules(store.replace("ObjectStore", "Other"), "service/storage.py") == ["b"]
    loose = "def f(audio: Audio): pass"
    assert rules(loose, "workers/audio.py") == ["b"]
    assert rules(loose, "workers/training/corpus.py") == []
    assert rules(loose, "workers/benchmarks/quality.py") == []
    assert rules("permit = Permit(stage='mix')", GATE) == []


def test_a_violation_planted_in_our_source_fails_the_check(tmp_path: Path) -> None:
    """The whole check, as it is run, on a copy of the tree with one line too many."""
    for room in ("service", "workers"):
        shutil.copytree(
            ROOT / room,
            tmp_path / room,
            ignore=lambda folder, names: [
                name
                for name in names
                if not name.endswith(".py") and not (Path(folder) / name).is_dir()
            ],
        )
    (tmp_path / "tests/architecture").mkdir(parents=True)
    script = tmp_path / "tests/architecture/permit_check.py"
    shutil.copy(ROOT / "tests/architecture/permit_check.py", script)
    clean = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    planted = tmp_path / "workers/mixing.py"
    source = planted.read_text()
    line = source.count("\n") + 3
    planted.write_text(source + "\n\ndef leak(audio: Audio) -> None:\n    print(audio)\n")
    found = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert f"workers/mixing.py:{line}: (b) leak is given Audio" in found.stdout
    assert set(found.stdout.splitlines()) - set(clean.stdout.splitlines()) == {
        f"workers/mixing.py:{line}: (b) leak is given Audio, and no parameter is a Permit"
    }
