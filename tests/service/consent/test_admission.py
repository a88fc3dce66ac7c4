"""The gate's first question: may this remix be made?"""

from tests.stories import Story


def test_a_fully_signed_grant_admits_a_listener(story: Story) -> None:
    granted = story.granted()
    admission = story.admit(granted)
    assert admission.claims.trk == granted.track_id
    assert admission.claims.tpl == f"{granted.template_id}@1"
    assert admission.claims.grant is not None
    assert admission.claims.grant.id == granted.grant_id
    assert set(admission.claims.ckpt) == {"test-drums", "test-drums-codec", "test-separator"}
    assert admission.claims.exp - admission.claims.iat <= 120
    assert admission.choices is not None
    assert admission.choices.seed is not None
    assert admission.claims.params_sha256 == admission.choices.sha256()
