"""Refusals: what an upload can be sent back for, each with its own stable type."""

from service.errors import Conflict, Problem


class MediaTypeUnsupported(Problem):
    """The bytes are none of the formats taken."""

    status = 415
    slug = "media-type-unsupported"
    title = "This is not an audio file that is taken"
    limit = "kinds of files that are taken"
    changed_by = "you, by sending one of them"


class FileNameInvalid(Problem):
    """The file name of the request is a path, or hides something."""

    status = 422
    slug = "file-name-invalid"
    title = "The file name is not valid"
    limit = "plain file names"
    changed_by = "whoever sends it, with another name"


class UploadStalled(Problem):
    """The sender fell silent in the middle of a file."""

    status = 408
    slug = "upload-stalled"
    title = "The upload stalled"
    limit = "seconds without a byte"
    changed_by = "whoever sends it, by sending it again"


class UploadInterrupted(Problem):
    """The connection ended before the file did."""

    status = 400
    slug = "upload-interrupted"
    title = "The upload was interrupted"
    limit = "whole files"
    changed_by = "whoever sends it, by sending it again"


class TrackSettled(Conflict):
    """The track's audio is being ingested or has been: what was signed for does not change."""

    slug = "track-settled"
    title = "The track's audio can no longer be changed"
    limit = "tracks whose audio may still change"
    changed_by = "nobody; register a new track for another recording"


class AudioMissing(Conflict):
    """There is nothing to ingest, or nothing to hear yet."""

    slug = "audio-missing"
    title = "The track has no audio"
    limit = "the track's audio"
    changed_by = "the track's owners, by sending and ingesting it"


class AudioUndecodable(Problem):
    """The bytes are not audio that can be decoded."""

    status = 422
    slug = "audio-undecodable"
    title = "The file cannot be decoded"
    limit = "audio that can be decoded"
    changed_by = "you, by sending another file"


class AudioTruncated(Problem):
    """The file ends before its own header says, or is damaged within."""

    status = 422
    slug = "audio-truncated"
    title = "The file is truncated"
    limit = "whole files"
    changed_by = "you, by sending it again"


class AudioEmpty(Problem):
    """The file holds no samples."""

    status = 422
    slug = "audio-empty"
    title = "The file holds no audio"
    limit = "files that hold something"
    changed_by = "you, by sending the file"


class AudioNotFinite(Problem):
    """A sample is not a finite number, or is beyond any level that music has."""

    status = 422
    slug = "audio-not-finite"
    title = "The file holds samples that are not finite"
    limit = "samples that are numbers"
    changed_by = "you, by sending another file"


class AudioSampleRate(Problem):
    """The sample rate is outside 8 to 192 kHz."""

    status = 422
    slug = "audio-sample-rate"
    title = "The sample rate is not supported"
    limit = "sample rates that are taken"
    changed_by = "you, by sending another file"


class AudioChannels(Problem):
    """The audio is neither mono nor stereo."""

    status = 422
    slug = "audio-channels"
    title = "The number of channels is not supported"
    limit = "one or two channels"
    changed_by = "you, by sending another file"


class AudioTooLong(Problem):
    """The audio is longer than a track may be."""

    status = 422
    slug = "audio-too-long"
    title = "The audio is too long"
    limit = "seconds of a track"
    changed_by = "the operator, in the settings"


class AudioTooShort(Problem):
    """The audio is shorter than a track must be."""

    status = 422
    slug = "audio-too-short"
    title = "The audio is too short"
    limit = "seconds of a track"
    changed_by = "you, by sending another file"


class DecodeLimit(Problem):
    """Decoding needed more time or memory than a track may cost."""

    status = 422
    slug = "decode-limit"
    title = "Decoding the file costs too much"
    limit = "time and memory for decoding"
    changed_by = "the operator; or you, by sending a plainer file"


class StemsDisagree(Problem):
    """Stems of one song differ in rate, channels or length."""

    status = 422
    slug = "stems-disagree"
    title = "The stems do not fit each other"
    limit = "stems of one length and rate"
    changed_by = "you, by sending stems that fit"


class StemsIncomplete(Problem):
    """The stems sent are not the whole song, so the others could not be kept."""

    status = 422
    slug = "stems-incomplete"
    title = "The stems are not the whole song"
    limit = "stems that are the whole song"
    changed_by = "you, by sending the missing ones or the mix"


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
