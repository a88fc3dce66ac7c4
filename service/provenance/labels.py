"""The names that a credential of ours uses: assertions, source types, media types.

C2PA 2.4 (assertion labels, actions), IPTC NewsCodes (digital source types), CAWG 1.1
(training and data mining). Ours are in the reverse-domain form that C2PA section 6.2 asks for.
"""

from typing import Final

ACTIONS: Final = "c2pa.actions.v2"
METADATA: Final = "cawg.metadata"
SOFT_BINDING: Final = "c2pa.soft-binding"
# The action of a soft binding that is part of the content itself (C2PA 2.4, table of actions).
WATERMARKED: Final = "c2pa.watermarked.bound"
# The action of keeping some seconds only (same table).
TRIMMED: Final = "c2pa.trimmed"
TRAINING_MINING: Final = "cawg.training-mining"
CONSENT: Final = "org.reprise.consent"
CREDITS: Final = "org.reprise.credits"
GENERATION: Final = "org.reprise.generation"
ORIGINAL: Final = "org.reprise.original"
STEM: Final = "org.reprise.stem"

# Purposes that a consent assertion may name: a preview's in place of a grant, an excerpt's beside
# it; and how the titles of both end.
PREVIEW: Final = "preview"
EXCERPT: Final = "excerpt"
PREVIEW_MARK: Final = "(preview)"

_IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
# The whole of a remix: a recording with a part that a trained model made.
COMPOSITE_WITH_MODEL: Final = _IPTC + "compositeWithTrainedAlgorithmicMedia"
# The regenerated part by itself.
MADE_BY_MODEL: Final = _IPTC + "trainedAlgorithmicMedia"
# A mixed master as its owners gave it; how it was recorded we do not know.
COMPOSITE: Final = _IPTC + "composite"
# A stem that a model took out of the recording: nothing in it is invented.
ENHANCED: Final = _IPTC + "algorithmicallyEnhanced"

# Uses that no credential of ours ever allows.
TRAINING_USES: Final = (
    "cawg.ai_generative_training",
    "cawg.ai_inference",
    "cawg.ai_training",
    "cawg.data_mining",
)

# Formats that can carry a credential (the SDK has no Ogg), by file extension.
MEDIA_TYPES: Final = {
    "flac": "audio/flac",
    "m4a": "audio/mp4",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
}
