"""A manifest store may have any shape: it is judged all the same, and never believed too soon."""

from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from service.provenance import labels, policy
from service.provenance.manifest_store import ManifestStore
from service.provenance.reading import Reading
from service.provenance.verdict import judge

EXPECTED = policy.Expected(consent={"job": "job_1"}, generation={"seed": 1}, original_sha256="0")

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
assertions = st.lists(
    st.fixed_dictionaries(
        {
            "label": st.sampled_from(
                [
                    labels.ACTIONS,
                    labels.CONSENT,
                    labels.CREDITS,
                    labels.GENERATION,
                    labels.TRAINING_MINING,
                ]
            ),
            "data": anything
            | st.fixed_dictionaries({"actions": st.lists(anything, max_size=3)})
            | st.fixed_dictionaries(
                {"actions": st.just([{"digitalSourceType": {"a": []}}]), "credits": anything}
            )
            | st.fixed_dictionaries({"checkpoints": anything, "entries": anything}),
            "created": st.booleans() | anything,
        }
    ),
    max_size=6,
)
manifest = st.fixed_dictionaries(
    {"assertions": assertions | anything, "ingredients": anything, "title": anything},
    optional={"signature_info": anything},
)
documents = st.fixed_dictionaries(
    {
        "active_manifest": st.just("urn:c2pa:1") | anything,
        "manifests": st.fixed_dictionaries({"urn:c2pa:1": manifest | anything}) | anything,
        "validation_state": st.sampled_from(["Trusted", "Valid", "Invalid"]) | anything,
    },
    optional={"validation_results": anything},
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents)
@example({})
@example({"validation_state": {"Trusted": True}})
def test_any_document_is_judged(document: dict[str, Any]) -> None:
    store = ManifestStore(document)

    verdict = judge(Reading(store=store))

    assert verdict.model_dump_json()
    assert policy.check(store, EXPECTED), "nothing made up satisfies the policy"
    if document.get("validation_state") not in ("Trusted", "Valid"):
        assert verdict.verdict == "invalid"
    if verdict.ours:
        assert verdict.verdict != "trusted", "ours without everything it must have"


def test_a_claim_without_end_is_left_out() -> None:
    credits_ = [{"name": "x" * 3_000, "role": "vocals"}, {"name": "Ana", "role": "vocals"}]
    many = [{"name": f"{n}", "role": "choir"} for n in range(1_000)]
    data = {"credits": credits_ + many}
    document = {
        "active_manifest": "a",
        "manifests": {
            "a": {"assertions": [{"label": labels.CREDITS, "data": data, "created": True}]}
        },
        "validation_state": "Valid",
    }

    shown = judge(Reading(store=ManifestStore(document))).credits

    assert shown[0].name == "Ana"
    assert len(shown) <= 200


def test_damage_is_told_as_invalid() -> None:
    verdict = judge(Reading(damage="Verify: invalid JUMB box"))

    assert verdict.verdict == "invalid"
    assert verdict.reasons == ["the credential is damaged: Verify: invalid JUMB box"]
