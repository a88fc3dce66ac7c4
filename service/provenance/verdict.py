"""The verdict on a file: one word, why, and what the file says of itself."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from service.provenance import labels, policy
from service.provenance.finders import CannotSearch, Finder
from service.provenance.manifest_store import Failure, ManifestStore
from service.provenance.reading import Reading, read_untrusted
from service.provenance.schemas import (
    AnswerWord,
    CheckpointLine,
    Consent,
    CreditLine,
    Made,
    Original,
    Signer,
    Verdict,
    VerdictWord,
)
from service.provenance.trust import Trust

# Finds out whether the consent that a trusted credential names still stands.
Standing = Callable[[ManifestStore], Consent | None]
ClaimT = TypeVar("ClaimT", bound=BaseModel)

_MOST_REASONS: Final = 20
_MOST_LINES: Final = 200

_SUMMARIES: Final[dict[VerdictWord, str]] = {
    "trusted": "Signed by an authority this service trusts, and unchanged since.",
    "valid": "Signed and unchanged, but not everything that trust asks for is there.",
    "invalid": "Changed after it was signed, or its credential is broken: do not rely on it.",
    "absent": "No credential: the file says nothing of where it comes from.",
}
_ENDED: Final = (
    "Signed with a certificate that has ended since, and no time stamp says when: whether it was "
    "changed cannot be told."
)
_PREVIEW: Final = " It says that it is a preview for the recording's owners: it grants nothing."
_EXCERPT: Final = (
    " It says that it is an excerpt that was heard while its remix was being made; the finished "
    "remix may sound otherwise."
)
# The one place where a verdict on a credential becomes an answer about a file.
_ANSWERS: Final[dict[VerdictWord, AnswerWord]] = {
    "trusted": "verified",
    "valid": "nothing-known",
    "invalid": "altered",
    "absent": "nothing-known",
}


def verify_file(
    path: Path,
    trust: Trust,
    standing: Standing | None = None,
    finders: Sequence[Finder] = (),
) -> Verdict:
    """Judge the file at `path`, read in a limited child.

    :param standing: asked only about a credential that is trusted and claims to be ours.
    :param finders: asked in order where the file is not verified, until one names a credential;
        they never make it verified.
    :raises MediaTypeUnsupported, VerifyUnreadable: see `read_untrusted`.
    """
    verdict = judge(read_untrusted(path, trust), standing)
    if verdict.answer != "verified":
        search(verdict, path, finders)
    return verdict


def search(verdict: Verdict, path: Path, finders: Sequence[Finder]) -> None:
    """Add to the verdict on an unverified file what the finders know; see `verify_file`."""
    for finder in finders:
        try:
            verdict.found += finder.find(path)
        except CannotSearch as reason:
            verdict.unsearched.append(str(reason))
        # What a credential says is more than what a sound does.
        if any(found.word == "recovered" for found in verdict.found):
            break
    words = {found.word for found in verdict.found}
    # What was altered stays altered, whatever else is known of it.
    if verdict.answer == "nothing-known":
        if "recovered" in words:
            verdict.answer = "recovered"
        elif "similar" in words:
            verdict.answer = "similar"


def judge(reading: Reading, standing: Standing | None = None) -> Verdict:
    """The verdict on what was read."""
    if reading.damage is not None:
        return _verdict("invalid", [f"the credential is damaged: {reading.damage}"])
    if reading.store is None:
        return _verdict("absent", [])
    store = reading.store
    ours = bool(store.assertions(labels.CONSENT))
    word, reasons = _weigh(store, ours)
    verdict = _verdict(word, reasons)
    if word == "invalid" and store.only_ended:
        verdict.answer, verdict.summary = "nothing-known", _ENDED
    verdict.ours = ours
    verdict = verdict.model_copy(update=claims_of(store))
    verdict.manifest_id = store.active_id[:200] or None
    verdict.signer = _claim(Signer, store.active.get("signature_info"))
    if verdict.preview:
        verdict.summary += _PREVIEW
    if verdict.excerpt:
        verdict.summary += _EXCERPT
    if ours and word == "trusted" and standing is not None:
        verdict.consent = standing(store)
    return verdict


def _weigh(store: ManifestStore, ours: bool) -> tuple[VerdictWord, list[str]]:
    failures = store.failures()
    of_ingredients = store.ingredient_failures()
    if store.state == "Invalid":
        return "invalid", _said(failures) or ["the credential does not validate"]
    # The SDK calls a file with a tampered parent trusted; whoever listens should not.
    tampered = [failure for failure in of_ingredients if failure.breaks_integrity]
    if tampered:
        return "invalid", _said(tampered)
    if store.state != "Trusted" or of_ingredients:
        strangers = _said([*failures, *of_ingredients])
        return "valid", strangers or ["the signer is nobody this service trusts"]
    missing = policy.shape(store) if ours else []
    return ("valid", missing) if missing else ("trusted", [])


def _said(failures: list[Failure]) -> list[str]:
    return [str(failure) for failure in failures]


def _verdict(word: VerdictWord, reasons: list[str]) -> Verdict:
    shown = [reason[:500] for reason in reasons[:_MOST_REASONS]]
    return Verdict(answer=_ANSWERS[word], verdict=word, summary=_SUMMARIES[word], reasons=shown)


def claims_of(store: ManifestStore) -> dict[str, Any]:
    """What the active manifest says of how the file was made, by whom and of what."""
    generation = store.claimed(labels.GENERATION) or {}
    credited = (store.claimed(labels.CREDITS) or {}).get("credits")
    parents = [store.of_ingredient(i).claimed(labels.ORIGINAL) for i in store.ingredients]
    title = store.active.get("title")
    return {
        "preview": policy.is_preview(store),
        "excerpt": policy.is_excerpt(store),
        "title": title[:2000] if isinstance(title, str) else None,
        "made": _claim(Made, generation or None),
        "original": _claim(Original, next((p for p in parents if p), None)),
        "credits": _claims(CreditLine, credited),
        "checkpoints": _claims(CheckpointLine, generation.get("checkpoints")),
    }


def _claim(model: type[ClaimT], data: Mapping[str, Any] | None) -> ClaimT | None:
    if data is None:
        return None
    try:
        return model.model_validate(data)
    except ValidationError:
        # Not in our words: nothing to show, whoever wrote it.
        return None


def _claims(model: type[ClaimT], data: object) -> list[ClaimT]:
    entries = data[:_MOST_LINES] if isinstance(data, list) else []
    found = [_claim(model, entry) for entry in entries]
    return [claim for claim in found if claim is not None]
