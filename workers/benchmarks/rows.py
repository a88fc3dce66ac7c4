"""The rows of the quality table: what was heard, judged, beside its controls and its bar.

Columns: "control" is the very same audio judged against ANOTHER song, which is what a part that
ignores its context gets; "generated" is judged against its own; "codec" is the song's own part
through the codec, the ceiling of this codec; "real" is that part itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from workers.benchmarks.excerpts import Labels
from workers.benchmarks.hearing import Heard
from workers.benchmarks.pitch import class_agreement, in_scale, roots_on_downbeats
from workers.benchmarks.rhythm import beat_f1, correlation, onset_f1
from workers.benchmarks.statistics import Estimate, Values, difference, mean, ratio
from workers.benchmarks.styles import StyleClassifier

COLUMNS = ("control", "generated", "codec", "real")
LOWER_BY = 0.08
"""How much a row may lose when the context is separated."""

Excerpt = tuple[str, float]
"""Song and start."""

Wished = Mapping[Excerpt, Sequence[str]]
"""The style asked for, by excerpt and seed."""


@dataclass(frozen=True)
class Known:
    """One excerpt's truth: labels, the context's onset curve, its own part by ear.

    ``log_mel`` is the distance of the codec's resynthesis, ``log_mel_of_magnitudes`` that of what
    uncoded magnitudes at the codec's frame rate give.
    """

    labels: Labels
    context: np.ndarray
    real: Heard
    codec: Heard
    log_mel: float
    log_mel_of_magnitudes: float | None = None


@dataclass(frozen=True)
class Row:
    """One measure. ``met`` is None where there is no bar, or nothing to hold against it."""

    group: str
    title: str
    columns: Mapping[str, Estimate]
    bar: str = ""
    met: bool | None = None
    note: str = ""
    values: Mapping[str, Values] = field(default_factory=dict, repr=False)


Heards = Mapping[Excerpt, Sequence[Heard]]
Truth = Mapping[Excerpt, Known]
Judge = Callable[[Heard, Known], float | None]
Bar = Callable[[Mapping[str, Estimate]], bool]


def _onset_correlation(heard: Heard, known: Known) -> float:
    return correlation(heard.curve, known.context)


def _beat(heard: Heard, known: Known) -> float:
    return beat_f1(heard.beats, np.asarray(known.labels.beats), known.labels.division)


def _in_scale(heard: Heard, known: Known) -> float:
    return in_scale(heard.pitch, known.labels.scale)


def _root(heard: Heard, known: Known) -> float | None:
    return roots_on_downbeats(heard.pitch, known.labels.chords, known.labels.beat_s)


@dataclass(frozen=True)
class Measure:
    """How a part is judged, and the bar it must meet."""

    title: str
    judge: Judge
    bar: str
    meets: Bar
    labelled: bool = False


MEASURES: Mapping[str, tuple[Measure, ...]] = {
    "drums": (
        Measure(
            "onset correlation with the context",
            _onset_correlation,
            ">= 0.42, control <= 0.12",
            lambda c: c["generated"].mean >= 0.42 and c["control"].mean <= 0.12,
        ),
        Measure(
            "beat F1 alone against the known beats",
            _beat,
            ">= 0.75",
            lambda c: c["generated"].mean >= 0.75,
        ),
    ),
    "bass": (
        Measure(
            "frames in the scale, pitch tracked",
            _in_scale,
            ">= 0.88",
            lambda c: c["generated"].mean >= 0.88,
        ),
        Measure(
            "root on the chord's downbeat",
            _root,
            ">= 2 x control",
            lambda c: c["generated"].mean >= 2 * c["control"].mean,
            labelled=True,
        ),
    ),
}
HEARD_TITLES = {
    "beat F1 alone against the known beats": "beat F1 alone against beats tracked in the full mix",
    "frames in the scale, pitch tracked": "frames in the scale of the key heard in the full mix",
}


def others(excerpts: Sequence[Excerpt], place: int, count: int) -> list[Excerpt]:
    """``count`` excerpts of other songs than that of ``excerpts[place]``, the next ones."""
    following = [*excerpts[place + 1 :], *excerpts[:place]]
    strangers = [excerpt for excerpt in following if excerpt[0] != excerpts[place][0]]
    return [strangers[number % len(strangers)] for number in range(count)] if strangers else []


def _gather(found: dict[str, list[float]], excerpt: Excerpt, value: float | None) -> None:
    if value is not None:
        found.setdefault(excerpt[0], []).append(value)


def judged(judge: Judge, generated: Heards, truth: Truth) -> dict[str, Values]:
    """Every column's values by song."""
    columns: dict[str, dict[str, list[float]]] = {name: {} for name in COLUMNS}
    excerpts = list(generated)
    for place, excerpt in enumerate(excerpts):
        known, made = truth[excerpt], generated[excerpt]
        for heard in made:
            _gather(columns["generated"], excerpt, judge(heard, known))
        for heard, other in zip(made, others(excerpts, place, len(made)), strict=False):
            _gather(columns["control"], excerpt, judge(heard, truth[other]))
        _gather(columns["codec"], excerpt, judge(known.codec, known))
        _gather(columns["real"], excerpt, judge(known.real, known))
    return {name: values for name, values in columns.items() if values}


def _row(group: str, title: str, values: Mapping[str, Values], bar: str, meets: Bar | None) -> Row:
    columns = {name: mean(of_column) for name, of_column in values.items()}
    met = meets(columns) if meets is not None and {"generated", "control"} <= set(columns) else None
    return Row(group, title, columns, bar, met, values=values)


def measured(part: str, generated: Heards, truth: Truth, labelled: bool) -> list[Row]:
    """The rows of :data:`MEASURES`; those that need labels only where there are some."""
    rows = []
    for measure in MEASURES[part]:
        if measure.labelled and not labelled:
            continue
        title = measure.title if labelled else HEARD_TITLES.get(measure.title, measure.title)
        values = judged(measure.judge, generated, truth)
        rows.append(_row(part, title, values, measure.bar, measure.meets))
    return rows


def _counts(heards: Heards) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for excerpt, made in heards.items():
        for heard in made:
            _gather(found, excerpt, float(len(heard.onsets)))
    return found


def density_row(generated: Heards, truth: Truth, asked: str) -> Row:
    """Onsets of the generated drums by onsets of the original; the control is another song's."""
    excerpts = list(generated)
    strangers = {e: others(excerpts, place, 1) for place, e in enumerate(excerpts)}
    real = _counts({e: [truth[e].real] for e in generated})
    codec = _counts({e: [truth[e].codec] for e in generated})
    other = _counts({e: [truth[o].real for o in strangers[e]] for e in generated})
    made = _counts(generated)
    columns = {"generated": ratio(made, real), "codec": ratio(codec, real)}
    if other:
        columns["control"] = ratio(other, real)
    met = 0.85 <= columns["generated"].mean <= 1.15
    title = f"density by the original's, {asked}"
    values = {
        "generated": {
            song: [count / max(1.0, float(np.mean(real[song]))) for count in counts]
            for song, counts in made.items()
        }
    }
    return Row("drums", title, columns, "within 15 % of 1", met, values=values)


def control_row(generated: Heards, normal: Heards, asked: str) -> Row:
    """Onsets when the density ``asked`` is told, by those when "normal" is: does it bind?"""
    columns = {"generated": ratio(_counts(generated), _counts(normal))}
    return Row("drums", f'density told "{asked}" by density told "normal"', columns)


def style_row(
    generated: Heards,
    wished: Wished,
    truth: Truth,
    classifier: StyleClassifier,
    title: str,
    barred: bool,
) -> Row:
    """Share of the drum parts whose requested style the classifier tells.

    The real and codec columns are the song's own style told in its own part.
    """
    values: dict[str, dict[str, list[float]]] = {name: {} for name in COLUMNS}
    excerpts = list(generated)
    for place, excerpt in enumerate(excerpts):
        told = [classifier.tell(heard.style) for heard in generated[excerpt]]
        strangers = others(excerpts, place, len(told))
        for number, style in enumerate(told):
            _gather(values["generated"], excerpt, float(style == wished[excerpt][number]))
        for number, (style, other) in enumerate(zip(told, strangers, strict=False)):
            _gather(values["control"], excerpt, float(style == wished[other][number]))
        known = truth[excerpt]
        for column, heard in (("codec", known.codec), ("real", known.real)):
            right = classifier.tell(heard.style) == known.labels.style
            _gather(values[column], excerpt, float(right))
    found = {name: of_column for name, of_column in values.items() if of_column}
    styles = len(classifier.styles)
    bar = ">= 0.70" if barred else ""
    meets: Bar | None = (lambda c: c["generated"].mean >= 0.70) if barred else None
    return _row("drums", f"{title} recognised, of {styles}", found, bar, meets)


def separated_row(true: Row, separated: Row) -> Row:
    """A row again with the context separated: it may lose at most 0.08."""
    both = true.values.get("generated", {}), separated.values.get("generated", {})
    lost = difference(*both)
    if true.title.startswith("density"):
        # A ratio is not better the higher it is: what is lost is nearness to one.
        away = [abs(row.columns["generated"].mean - 1) for row in (separated, true)]
        lost = Estimate(away[0] - away[1], np.nan, np.nan, lost.pieces)
    within = f" ({lost.low:.2f} to {lost.high:.2f})" if np.isfinite(lost.low) else ""
    return Row(
        true.group,
        f"separated context: {true.title}",
        separated.columns,
        f"at most {LOWER_BY:.2f} lower",
        lost.mean <= LOWER_BY,
        f"lower by {lost.mean:.3f}{within}",
        separated.values,
    )


def codec_rows(part: str, truth: Truth) -> list[Row]:
    """What the codec keeps of a part; the control is another song's part."""
    excerpts = list(truth)
    strangers = {e: others(excerpts, place, 1) for place, e in enumerate(excerpts)}

    def compared(judge: Callable[[Heard, Heard], float | None]) -> dict[str, Values]:
        codec: dict[str, list[float]] = {}
        control: dict[str, list[float]] = {}
        for excerpt, known in truth.items():
            _gather(codec, excerpt, judge(known.codec, known.real))
            for other in strangers[excerpt]:
                _gather(control, excerpt, judge(truth[other].real, known.real))
        return {"codec": codec, "control": control} if control else {"codec": codec}

    def row(title: str, values: Mapping[str, Values], bar: str, meets: Bar) -> Row:
        columns = {name: mean(of_column) for name, of_column in values.items()}
        return Row(f"{part} codec", title, columns, bar, meets(columns), values=values)

    if part == "bass":
        agreement = compared(lambda a, b: class_agreement(a.pitch, b.pitch))
        return [
            row("pitch-class agreement of resynthesis", agreement, ">= 0.90",
                lambda c: c["codec"].mean >= 0.90)
        ]  # fmt: skip
    kept = compared(lambda a, b: onset_f1(a.onsets, b.onsets))
    distance: dict[str, list[float]] = {}
    uncoded: dict[str, list[float]] = {}
    for excerpt, known in truth.items():
        _gather(distance, excerpt, known.log_mel)
        _gather(uncoded, excerpt, known.log_mel_of_magnitudes)
    title = "the same of uncoded magnitudes, as many a second"
    ceiling = [Row("drums codec", title, {"codec": mean(uncoded)})] if uncoded else []
    return [
        row("onset F1 of resynthesis", kept, ">= 0.98", lambda c: c["codec"].mean >= 0.98),
        row("log-mel distance of resynthesis", {"codec": distance}, "<= 0.14",
            lambda c: c["codec"].mean <= 0.14),
        *ceiling,
    ]  # fmt: skip


SDR_BARS_DB: Mapping[str, float] = {"drums": 6.0, "bass": 5.5, "other": 4.0, "vocals": 2.0}
LEAST_GAIN_DB, MEAN_GAIN_DB, FONT_WITHIN_DB = 1.5, 3.0, 2.0

Scores = Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]
"""SDR in dB: song -> "model" or "mixture" -> stem -> one value for each stretch."""


def _sdr(scores: Scores, stem: str) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """The model's SDR and that of doing nothing: the better of mixture and silence (0 dB)."""
    model, nothing = {}, {}
    for song, by_who in scores.items():
        if stem in by_who["model"]:
            model[song] = list(by_who["model"][stem])
            nothing[song] = [max(0.0, value) for value in by_who["mixture"][stem]]
    return model, nothing


def separation_rows(scores: Scores) -> list[Row]:
    """SDR of every stem, and its gain over the better of mixture and silence."""
    rows, gains = [], []
    for stem, bar in SDR_BARS_DB.items():
        model, nothing = _sdr(scores, stem)
        if not model:
            continue
        columns = {"control": mean(nothing), "generated": mean(model)}
        met = columns["generated"].mean >= bar
        rows.append(Row("separation", f"SDR of {stem}, dB", columns, f">= {bar:g}", met))
        gains.append((stem, difference(model, nothing)))
    for stem, gain in gains:
        title = f"gain over mixture or silence, {stem}, dB"
        met = gain.mean >= LEAST_GAIN_DB
        rows.append(Row("separation", title, {"generated": gain}, f">= {LEAST_GAIN_DB:g}", met))
    if gains:
        total = mean(_mean_of_stems(scores, gain=True))
        rows.append(
            Row("separation", "gain over mixture or silence, mean of stems, dB",
                {"generated": total}, f">= {MEAN_GAIN_DB:g}", total.mean >= MEAN_GAIN_DB)
        )  # fmt: skip
    return rows


def _mean_of_stems(scores: Scores, gain: bool) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for stem in SDR_BARS_DB:
        model, nothing = _sdr(scores, stem)
        for song, values in model.items():
            less = float(np.mean(nothing[song])) if gain else 0.0
            found.setdefault(song, []).append(float(np.mean(values)) - less)
    return found


def font_row(scores: Scores, unseen: Scores) -> Row:
    """Mean SDR with a sound font that no training used, beside that with the usual ones."""
    columns = {
        "control": mean(_mean_of_stems(scores, gain=False)),
        "generated": mean(_mean_of_stems(unseen, gain=False)),
    }
    lost = columns["control"].mean - columns["generated"].mean
    return Row(
        "separation",
        "mean SDR with a font never seen (control: usual fonts), dB",
        columns,
        f"within {FONT_WITHIN_DB:g} dB",
        lost <= FONT_WITHIN_DB,
        f"lower by {lost:.2f}",
    )


def partial_rows(part: str, results: Mapping[Excerpt, Mapping[str, float]]) -> list[Row]:
    """What partial regeneration keeps, and how its seams sound.

    "codec" is a splice of the part's own resynthesis; "real" are its own bar lines where the seams
    lie.
    """
    values: dict[str, dict[str, list[float]]] = {name: {} for name in ("kept", *COLUMNS[1:])}
    for excerpt, result in results.items():
        for name, of_name in values.items():
            _gather(of_name, excerpt, result[name])
    kept = mean(values.pop("kept"))
    jumps = {name: mean(of_column) for name, of_column in values.items()}
    group = f"{part}, bars redone"
    return [
        Row(group, "kept samples that are the original's own", {"generated": kept}, "= 1",
            kept.mean == 1.0),
        Row(group, "seam's spectral jump by the piece's own median", jumps, "<= 1.5",
            jumps["generated"].mean <= 1.5, values=values),
    ]  # fmt: skip
