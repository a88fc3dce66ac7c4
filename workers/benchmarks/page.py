"""The listening page: one HTML file beside its sounds and pictures, nothing from elsewhere."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

TITLES = {
    "original": "Original",
    "regenerated": "Separated and regenerated",
    "other": "The same in another style",
}
FIGURES: Mapping[str, tuple[str, str]] = {
    "noise_floor_db": ("buzz: floor between hits, dB", "{:.0f}"),
    "steady_tone_db": ("buzz: steady tone, dB", "{:.0f}"),
    "attack_ms": ("smear: attack, ms", "{:.0f}"),
    "double_hits": ("double hits", "{}"),
    "clipped_samples": ("clipped samples", "{}"),
    "dead_bars": ("dead bars", "{}"),
    "off_key_percent": ("notes off key, %", "{:.0f}"),
}
_NOTES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")

_STYLE = """
:root { color-scheme: light dark; --line: #8885; --flaw: #c5221f; }
@media (prefers-color-scheme: dark) { :root { --flaw: #ff8a80; } }
body { font: 16px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 84rem; padding: 1rem; }
h2 { border-top: 1px solid var(--line); font-size: 1.1rem; padding-top: 1rem; }
.versions { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); }
h3 { font-size: 1rem; margin: 0 0 .4rem; }
img, audio { display: block; margin: .3rem 0; width: 100%; }
label, small { color: GrayText; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
td { border-top: 1px solid var(--line); padding: .1rem .3rem; }
td:last-child { text-align: right; }
.flaw { color: var(--flaw); font-weight: 700; }
"""
_SCRIPT = """
addEventListener('play', (event) => {
  for (const other of document.querySelectorAll('audio')) {
    if (other !== event.target) other.pause();
  }
}, true);
"""


def _figure(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if name == "dead_bars":
        return ", ".join(str(bar + 1) for bar in value) or "none"
    return FIGURES[name][1].format(value)


def _version(folder: str, part: str, version: str, told: Mapping[str, Any]) -> str:
    rows = []
    for name, (title, _) in FIGURES.items():
        value = told["figures"][name]
        if value is None:
            continue
        flawed = name in told["flaws"]
        mark = ' class="flaw"' if flawed else ""
        word = " ⚠ worse than the original" if flawed else ""
        rows.append(f"<tr{mark}><td>{escape(title)}{word}</td><td>{_figure(name, value)}</td></tr>")
    title = escape(TITLES[version])
    style = escape(str(told["style"]))
    base = f"{escape(folder)}/{version}"
    return f"""<section>
<h3>{title}: {style}</h3>
<label>all <audio controls preload="none" src="{base}.mp3"></audio></label>
<label>{part} alone <audio controls preload="none" src="{base}-{part}.mp3"></audio></label>
<img src="{base}.png" width="640" height="240" loading="lazy"
 alt="Wave of the {part} within the mix, and their spectrogram: {title}, {style}">
<table>{"".join(rows)}</table>
</section>"""


def _triple(number: int, folder: str, triple: Mapping[str, Any]) -> str:
    tonic, mode = triple["key"]
    part = escape(triple["part"])
    facts = (
        f"{escape(triple['own_style'])}, {triple['bpm']:g} bpm, {escape(triple['metre'])}, "
        f"{_NOTES[tonic]} {escape(mode)}, piece {escape(triple['song'])}, seed {triple['seed']}"
    )
    versions = "".join(
        _version(folder, part, version, told) for version, told in triple["versions"].items()
    )
    return f"""<article id="triple-{number}">
<h2>{number}. New {part} <small>{facts}</small></h2>
<div class="versions">{versions}</div>
</article>"""


def page(triples: Sequence[Mapping[str, Any]], folders: Sequence[str], told: str) -> str:
    """The whole page.

    Args:
        triples: results of :class:`workers.benchmarks.triples.Triple`.
        folders: where each one's files lie, relative to the page.
        told: one sentence on what was used.
    """
    flawed = sum(
        bool(version["flaws"]) for triple in triples for version in triple["versions"].values()
    )
    made = 2 * len(triples)
    articles = "".join(
        _triple(number, folder, triple)
        for number, (folder, triple) in enumerate(zip(folders, triples, strict=True), start=1)
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Reprise: the bundled models to listen to</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>The bundled models to listen to</h1>
<p>{escape(told)}</p>
<p>Held-out rendered pieces; nobody's recordings. Every new part was made from what the bundled
separator leaves of the mixture, and mixed with that. Of {made} new parts {flawed} have a figure
that is clearly worse than the original part's own; it is <span class="flaw">⚠ marked</span>.</p>
<main>{articles}</main>
<script>{_SCRIPT}</script>
</body>
</html>
"""
