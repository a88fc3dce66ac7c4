"""Refusals: what an upload can be sent back for, each with its own stable type."""

from service.errors import Conflict, Problem


class MediaTypeUnsupported(Problem):
    """The bytes are none of the formats taken."""

    status = 415
    slug = "media-type-unsupported"
    title = "This is not an audio file that is taken"


class FileNameInvalid(Problem):
    """The file name of the request is a path, or hides something."""

    status = 422
    slug = "file-name-invalid"
    title = "The file name is not valid"


class UploadStalled(Problem):
    """The sender fell silent in the middle of a file."""

    status = 408
    slug = "upload-stalled"
    title = "The upload stalled"


class UploadInterrupted(Problem):
    """The connection ended before the file did."""

    status = 400
    slug = "upload-interrupted"
    title = "The upload was interrupted"


class TrackSettled(Conflict):
    """The track's audio is being ingested or has been: what was signed for does not change."""

    slug = "track-settled"
    title = "The track's audio can no longer be changed"


class AudioMissing(Conflict):
    """There is nothing to ingest, or nothing to hear yet."""

    slug = "audio-missing"
    title = "The track has no audio"


class AudioUndecodable(Problem):
    """The bytes are not audio that can be decoded."""

    status = 422
    slug = "audio-undecodable"
    title = "The file cannot be decoded"


class AudioTruncated(Problem):
    """The file ends before its own header says, or is damaged within."""

    status = 422
    slug = "audio-truncated"
    title = "The file is truncated"


class AudioEmpty(Problem):
    """The file holds no samples."""

    status = 422
    slug = "audio-empty"
    title = "The file holds no audio"


class AudioNotFinite(Problem):
    """A sample is not a finite number, or is beyond any level that music has."""

    status = 422
    slug = "audio-not-finite"
    title = "The file holds samples that are not finite"


class AudioSampleRate(Problem):
    """The sample rate is outside 8 to 192 kHz."""

    status = 422
    slug = "audio-sample-rate"
    title = "The sample rate is not supported"


class AudioChannels(Problem):
    """The audio is neither mono nor stereo."""

    status = 422
    slug = "audio-channels"
    title = "The number of channels is not supported"


class AudioTooLong(Problem):
    """The audio is longer than a track may be."""

    status = 422
    slug = "audio-too-long"
    title = "The audio is too long"


class AudioTooShort(Problem):
    """The audio is shorter than a track must be."""

    status = 422
    slug = "audio-too-short"
    title = "The audio is too short"


class DecodeLimit(Problem):
    """Decoding needed more time or memory than a track may cost."""

    status = 422
    slug = "decode-limit"
    title = "Decoding the file costs too much"


class StemsDisagree(Problem):
    """Stems of one song differ in rate, channels or length."""

    status = 422
    slug = "stems-disagree"
    title = "The stems do not fit each other"


class StemsIncomplete(Problem):
    """The stems sent are not the whole song, so the others could not be kept."""

    status = 422
    slug = "stems-incomplete"
    title = "The stems are not the whole song"


AUDIO_REFUSALS: dict[str, type[Problem]] = {
    refusal.slug: refusal
    for refusal in (
        AudioUndecodable,
        AudioTruncated,
        AudioEmpty,
        AudioNotFinite,
        AudioSampleRate,
        AudioChannels,
        AudioTooLong,
        AudioTooShort,
        DecodeLimit,
        StemsDisagree,
        StemsIncomplete,
    )
}
"""By slug: what decoding and comparing an upload can end in."""
