"""What the C2PA SDK read from one file, as data to be judged."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["Trusted", "Valid", "Invalid"]

# The one failure that says nothing of the file's integrity: nobody we trust signed it.
_UNTRUSTED = "signingCredential.untrusted"

# A certificate that has ended: nobody can say any more when the signature was made.
_ENDED = frozenset({"signingCredential.expired", "claimSignature.outsideValidity"})

_STATES: tuple[State, ...] = ("Trusted", "Valid", "Invalid")


@dataclass(frozen=True, slots=True)
class Failure:
    """One validation failure: the C2PA status code, and where it sits (a title or a label)."""

    code: str
    where: str
    explanation: str

    @property
    def breaks_integrity(self) -> bool:
        """Whether something was changed or is malformed (else: only the signer is a stranger)."""
        return self.code != _UNTRUSTED

    def __str__(self) -> str:
        return f"{self.where}: {self.code}"


@dataclass(frozen=True, slots=True)
class ManifestStore:
    """A manifest store as the SDK's reader gives it (its JSON document).

    Everything in it was written by whoever signed the file: text to be shown, never markup, and of
    any shape. The methods answer "not there" to what has another shape than C2PA's.
    """

    document: Mapping[str, Any]

    @property
    def state(self) -> State:
        """The SDK's validation state; anything unknown counts as `Invalid`."""
        state = self.document.get("validation_state")
        return state if state in _STATES else "Invalid"

    @property
    def active_id(self) -> str:
        """The active manifest's identifier (`urn:c2pa:…`): the credential's identity."""
        return _text(self.document.get("active_manifest"))

    @property
    def active(self) -> Mapping[str, Any]:
        """The active manifest."""
        return _mapping(_mapping(self.document.get("manifests")).get(self.active_id))

    def of_ingredient(self, ingredient: Mapping[str, Any]) -> "ManifestStore":
        """The same store seen from an ingredient's own manifest (without a state of its own)."""
        return ManifestStore(
            {
                "active_manifest": ingredient.get("active_manifest"),
                "manifests": self.document.get("manifests"),
            }
        )

    def assertions(self, label: str) -> list[Mapping[str, Any]]:
        """The active manifest's assertions with this label, each with `data` and `created`."""
        return [a for a in _mappings(self.active.get("assertions")) if a.get("label") == label]

    def count(self, label: str) -> int:
        """How many assertions with this label the signer made himself, the numbered ones too."""
        return sum(
            _text(a.get("label")).partition("__")[0] == label and a.get("created") is True
            for a in _mappings(self.active.get("assertions"))
        )

    def claimed(self, label: str) -> Mapping[str, Any] | None:
        """The data of the one assertion with this label that the signer made himself.

        None when there is none, or more than one, or it was only gathered (C2PA section 10.3.2.3.2:
        a gathered assertion is not attributed to the signer).
        """
        found = self.assertions(label)
        if len(found) != 1 or found[0].get("created") is not True:
            return None
        data = found[0].get("data")
        return data if isinstance(data, Mapping) else None

    @property
    def actions(self) -> list[Mapping[str, Any]]:
        """The actions that the signer claims, in order."""
        return _mappings((self.claimed("c2pa.actions.v2") or {}).get("actions"))

    @property
    def ingredients(self) -> list[Mapping[str, Any]]:
        """The active manifest's ingredients."""
        return _mappings(self.active.get("ingredients"))

    @property
    def time_stamped(self) -> bool:
        """Whether a trusted authority says when the active manifest was signed."""
        results = _mapping(_mapping(self.document.get("validation_results")).get("activeManifest"))
        return any(e.get("code") == "timeStamp.trusted" for e in _mappings(results.get("success")))

    @property
    def only_ended(self) -> bool:
        """Whether nothing fails but that a certificate has ended, here or in an ingredient."""
        codes = {f.code for f in (*self.failures(), *self.ingredient_failures())}
        return bool(codes & _ENDED) and codes <= _ENDED | {_UNTRUSTED}

    def failures(self) -> list[Failure]:
        """Failures of the active manifest."""
        results = _mapping(_mapping(self.document.get("validation_results")).get("activeManifest"))
        return list(_failures(results, "credential"))

    def ingredient_failures(self) -> list[Failure]:
        """Failures of ingredients, at any depth, which the SDK's state leaves out."""
        found = [f for manifest in self._manifests() for f in _of_ingredients(manifest)]
        results = _mapping(self.document.get("validation_results"))
        for delta in _mappings(results.get("ingredientDeltas")):
            found.extend(_failures(_mapping(delta.get("validationDeltas")), "ingredient"))
        return found

    def _manifests(self) -> list[Mapping[str, Any]]:
        return [_mapping(m) for m in _mapping(self.document.get("manifests")).values()]


def trusted_ingredient(ingredient: Mapping[str, Any]) -> bool:
    """Whether an ingredient carried a credential that led to a trusted certificate."""
    results = _mapping(_mapping(ingredient.get("validation_results")).get("activeManifest"))
    return bool(ingredient.get("active_manifest")) and any(
        entry.get("code") == "signingCredential.trusted"
        for entry in _mappings(results.get("success"))
    )


def _of_ingredients(manifest: Mapping[str, Any]) -> Iterator[Failure]:
    for ingredient in _mappings(manifest.get("ingredients")):
        where = f"ingredient {_text(ingredient.get('title')) or 'without a title'}"
        results = _mapping(ingredient.get("validation_results"))
        yield from _failures(_mapping(results.get("activeManifest")), where)
        for delta in _mappings(results.get("ingredientDeltas")):
            yield from _failures(_mapping(delta.get("validationDeltas")), where)
        # Readers of files signed by older SDKs give the older, flat list.
        for entry in _mappings(ingredient.get("validation_status")):
            if entry.get("success") is not True:
                yield Failure(_text(entry.get("code")), where, _text(entry.get("explanation")))


def _failures(results: Mapping[str, Any], where: str) -> Iterator[Failure]:
    for entry in _mappings(results.get("failure")):
        yield Failure(_text(entry.get("code")), where, _text(entry.get("explanation")))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [v for v in value if isinstance(v, Mapping)] if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
