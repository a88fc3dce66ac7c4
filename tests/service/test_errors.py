"""Every refusal that there can be says what was met and who can change it."""

import importlib
import pkgutil

import service
from checkpoints.errors import CheckpointError
from service.errors import Problem


def kinds(of: type) -> set[type]:
    found = set(of.__subclasses__())
    return found.union(*(kinds(each) for each in found))


def test_every_problem_names_the_limit_and_who_can_change_it() -> None:
    for module in pkgutil.walk_packages(service.__path__, "service."):
        if ".migrations." not in module.name:
            importlib.import_module(module.name)
    found = kinds(Problem) | kinds(CheckpointError)
    for each in found:
        for member in ("limit", "changed_by", "title", "slug"):
            said = getattr(each, member)
            assert isinstance(said, str), (each, member)
            assert said.strip(), (each, member)
        assert 400 <= each.status < 600, each
    assert len(found) > 100


def test_a_problem_states_its_six_members() -> None:
    document = Problem("words", limit="this one").document("/here")
    assert set(document) == {
        "type", "title", "status", "detail", "limit", "changed_by", "instance",
    }  # fmt: skip
    assert document["limit"] == "this one"
