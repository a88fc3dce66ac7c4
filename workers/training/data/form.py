"""The form of a piece: which sections follow each other, who plays in them, and where it ends."""

from dataclasses import replace
from random import Random

from workers.training.data.score import Section

BAND: tuple[str, ...] = ("drums", "bass", "other")
LAST_RING_S = 1.2
"""A last chord is not cut shorter than this."""

_INTENSITY = {"intro": 0.45, "verse": 0.6, "chorus": 1.0, "bridge": 0.55, "break": 0.5}
_CYCLE = ("verse", "chorus", "verse", "chorus", "bridge", "chorus")
_SHORTEST_WITH_INTRO, _SHORTEST_WITH_BREAK = 6, 8


def draw_form(bars: int, ending: int | None, has_vocals: bool, rng: Random) -> list[Section]:
    """Sections that cover ``bars`` bars.

    A whole piece has its last chord in bar ``ending`` and silence after it. Without one this is an
    excerpt of a longer piece: it starts anywhere in the form and is cut off. A "break" leaves out
    drums or bass; one with both is stop-time.
    """
    until = bars if ending is None else ending
    length = 2 if until < 7 else rng.choice((4, 4, 8)) if until >= 20 else 4
    names = _names(until, length, ending is not None, rng)
    sections: list[Section] = []
    first = 0
    for name, size in names:
        size = min(size, until - first)
        if size <= 0:
            break
        sections.append(_section(name, first, size, has_vocals, rng))
        first += size
    if has_vocals and not any("vocals" in section.parts for section in sections):
        sections[-1] = replace(sections[-1], parts=(*sections[-1].parts, "vocals"))
    if ending is not None:
        parts = (*BAND, "vocals") if "vocals" in sections[-1].parts else BAND
        sections.append(Section("ending", ending, bars - ending, 1.0, parts))
    return sections


def _names(until: int, length: int, whole: bool, rng: Random) -> list[tuple[str, int]]:
    """(name, bars) of more sections than are needed."""
    start = 0 if whole else rng.randrange(len(_CYCLE))
    names: list[tuple[str, int]] = []
    if whole and until >= _SHORTEST_WITH_INTRO and rng.random() < 0.8:
        names.append(("intro", 2 if length <= 4 else 4))
    break_after = rng.randrange(1, 3) if rng.random() < 0.6 else -1
    for place in range(until // length + 2):
        names.append((_CYCLE[(start + place) % len(_CYCLE)], length))
        if place + 1 == break_after and until >= _SHORTEST_WITH_BREAK:
            names.append(("break", max(1, length // 2)))
    return names


def _section(name: str, first: int, size: int, has_vocals: bool, rng: Random) -> Section:
    parts = list(BAND)
    leaves_out = {"break": 0.7, "intro": 0.25, "bridge": 0.12}.get(name, 0.0)
    if rng.random() < leaves_out:
        parts.remove(rng.choice(("drums", "bass")))
    if has_vocals and name != "intro" and rng.random() < 0.9:
        parts.append("vocals")
    intensity = _INTENSITY[name] + rng.uniform(-0.04, 0.04)
    return Section(name, first, size, min(1.0, round(intensity, 2)), tuple(parts))
