"""Our own check of a credential, made after signing and again by whoever verifies.

The C2PA SDK's `Trusted` says that a trusted certificate signed this file. It says nothing of a
tampered parent (that failure sits in the ingredient), of a missing digital source type, or of
what the consent assertion holds: those are ours to check, here and nowhere else.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.provenance import labels
from service.provenance.manifest_store import ManifestStore, trusted_ingredient


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the job's record says the credential must say.

    `consent` and `generation` are the whole assertions; `original_sha256` names the track's audio;
    `soft_bindings` are algorithm and value of each; `time_stamped` says whether an authority was
    to give a time stamp.
    """

    consent: Mapping[str, Any]
    generation: Mapping[str, Any]
    original_sha256: str
    soft_bindings: Sequence[tuple[str, bytes]] = ()
    time_stamped: bool = False

    def document(self) -> dict[str, Any]:
        """The same as JSON, to be kept; `of` reads it back."""
        return {
            "consent": dict(self.consent),
            "generation": dict(self.generation),
            "original_sha256": self.original_sha256,
            "soft_bindings": [[alg, value.hex()] for alg, value in self.soft_bindings],
            "time_stamped": self.time_stamped,
        }

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Expected":
        """What `document` wrote."""
        return cls(
            consent=document["consent"],
            generation=document["generation"],
            original_sha256=document["original_sha256"],
            soft_bindings=tuple(
                (alg, bytes.fromhex(value)) for alg, value in document["soft_bindings"]
            ),
            time_stamped=document["time_stamped"],
        )


def token_sha256(token_id: str) -> str:
    """A job token's identifier as the consent assertion holds it: a hash, it leaves the house."""
    return hashlib.sha256(token_id.encode()).hexdigest()


def check(
    store: ManifestStore, expected: Expected, bindings: Sequence[tuple[object, object]] = ()
) -> list[str]:
    """Why this credential may not leave under this job's record; an empty list: it may.

    :param bindings: the soft bindings as the file's bytes say (see `jumbf.soft_bindings`): in the
        SDK's JSON a list of numbers and a byte string look the same.
    """
    return [
        *_signature(store),
        *_time_stamp(store, expected.time_stamped),
        *shape(store),
        *_consent(store, expected.consent),
        *_generation(store, expected.generation),
        *_original(store, expected.original_sha256),
        *_soft_bindings(store, bindings, expected.soft_bindings),
    ]


def shape(store: ManifestStore) -> list[str]:
    """What a credential of ours must have whatever the job was; anybody can check this."""
    return [
        *_ingredients(store),
        *_source_type(store),
        *_training(store),
        *(
            f"there is not exactly one {label} assertion made by the signer"
            for label in (labels.CONSENT, labels.CREDITS, labels.GENERATION)
            if store.claimed(label) is None
        ),
        *_purpose(store),
    ]


def is_preview(store: ManifestStore) -> bool:
    """Whether the credential is of a preview: made for its owners to hear, with nothing granted."""
    return (store.claimed(labels.CONSENT) or {}).get("purpose") == labels.PREVIEW


def is_excerpt(store: ManifestStore) -> bool:
    """Whether the credential is of an excerpt, heard while its remix was being made."""
    return (store.claimed(labels.CONSENT) or {}).get("purpose") == labels.EXCERPT


def _purpose(store: ManifestStore) -> list[str]:
    """A preview never passes for something granted, nor an excerpt for a whole remix."""
    consent = store.claimed(labels.CONSENT)
    if consent is None:
        return []
    violations = []
    preview, excerpt = is_preview(store), is_excerpt(store)
    if "purpose" in consent and not (preview or excerpt):
        violations.append("the consent assertion names an unknown purpose")
    # An excerpt is made under its remix's grant; a preview's purpose stands in a grant's place.
    if preview == ("grant" in consent):
        violations.append("the consent assertion has neither or both of a grant and a purpose")
    title = store.active.get("title")
    marked = isinstance(title, str) and title.endswith(f" {labels.PREVIEW_MARK}")
    if (preview or excerpt) and not marked:
        violations.append(f"the title of a preview does not end with {labels.PREVIEW_MARK}")
    generation = store.claimed(labels.GENERATION) or {}
    if excerpt != ("excerpt" in generation):
        violations.append("which seconds an excerpt is does not stand with how it was made")
    return violations


def _signature(store: ManifestStore) -> list[str]:
    # `Valid` is not enough: anybody's certificate gives that.
    if store.state == "Trusted":
        return []
    reasons = [str(failure) for failure in store.failures()]
    return [f"validation state is {store.state}, not Trusted", *reasons]


def _time_stamp(store: ManifestStore, expected: bool) -> list[str]:
    # The SDK only mentions a stamp that nobody trusts: the file would end with its certificate.
    if expected and not store.time_stamped:
        return ["no authority that is trusted gave the time stamp"]
    return []


def _ingredients(store: ManifestStore) -> list[str]:
    violations = [str(failure) for failure in store.ingredient_failures()]
    parents = [i for i in store.ingredients if i.get("relationship") == "parentOf"]
    if len(parents) != 1:
        violations.append(f"there are {len(parents)} parents; a remix has one original")
    violations += [
        f"ingredient {ingredient.get('title')!s} has no trusted credential"
        for ingredient in store.ingredients
        if not trusted_ingredient(ingredient)
    ]
    return violations


def _source_type(store: ManifestStore) -> list[str]:
    # A list: a stranger may have put something that does not hash.
    found = [action.get("digitalSourceType") for action in store.actions]
    return [
        f"no action has the digital source type {needed.rsplit('/', 1)[1]}"
        for needed in (labels.COMPOSITE_WITH_MODEL, labels.MADE_BY_MODEL)
        if needed not in found
    ]


def _training(store: ManifestStore) -> list[str]:
    entries = (store.claimed(labels.TRAINING_MINING) or {}).get("entries")
    allowed = [
        use
        for use in labels.TRAINING_USES
        if not isinstance(entries, Mapping) or entries.get(use) != {"use": "notAllowed"}
    ]
    return [f"{use} is not ruled out" for use in allowed]


def _consent(store: ManifestStore, expected: Mapping[str, Any]) -> list[str]:
    return _differences("consent", store.claimed(labels.CONSENT), expected)


def _generation(store: ManifestStore, expected: Mapping[str, Any]) -> list[str]:
    return _differences("generation", store.claimed(labels.GENERATION), expected)


def _differences(
    name: str, claimed: Mapping[str, Any] | None, expected: Mapping[str, Any]
) -> list[str]:
    if claimed is None:
        return []  # `shape` has said so.
    return [
        f"{name} assertion: {key} is not what the job's record says"
        for key in sorted({*claimed, *expected})
        if key not in claimed or key not in expected or claimed[key] != expected[key]
    ]


def _soft_bindings(
    store: ManifestStore,
    found: Sequence[tuple[object, object]],
    expected: Sequence[tuple[str, bytes]],
) -> list[str]:
    texts = [
        f"the value of the soft binding {alg!s} is not a byte string"
        for alg, value in found
        if not isinstance(value, bytes)
    ]
    if texts:
        return texts
    # Both readings have to tell of them, or one of the two was misled.
    if list(found) != list(expected) or store.count(labels.SOFT_BINDING) != len(expected):
        return ["the soft bindings are not those of the job's record"]
    return []


def _original(store: ManifestStore, sha256: str) -> list[str]:
    for ingredient in store.ingredients:
        if ingredient.get("relationship") == "parentOf":
            claim = store.of_ingredient(ingredient).claimed(labels.ORIGINAL) or {}
            if claim.get("sha256") == sha256:
                return []
    return ["the original's credential does not name the track's audio"]
