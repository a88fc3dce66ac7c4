"""Regenerate: a new part for the stems that stay."""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from service.errors import Problem
from service.permit import Permit
from service.templates.capability import generator_of
from service.templates.terms import GuidanceBounds
from workers.artefacts import Made, artefact_key, find
from workers.attempt import Work
from workers.audio import Audio, resample, write_audio
from workers.regeneration.engine import Engine, Handle
from workers.regeneration.guidance import Sampling
from workers.regeneration.request import (
    MOST_GUIDANCE,
    Generation,
    GenerationRequest,
    InvalidGenerationRequest,
)
from workers.splicing import Spans
from workers.stages.excerpts import Excerpts
from workers.stages.stems import kept_names, kept_stems, redone_spans, replaced_stem

MEDIA_TYPE = "audio/wav"
LOOK_SECONDS = 0.1
CANDIDATES = GenerationRequest.candidates


class GenerationRefused(Problem):
    """The generator cannot meet this request."""

    status = 422
    slug = "generation-refused"
    title = "The generator cannot do this"


def regenerate(permit: Permit, work: Work) -> Made:
    """The new part, float32 mono at the codec's rate, as long as the song.

    The artefact's `meta["parameters"]` is what the credential states of the generation.
    """
    permit.require("regenerate", track_id=work.record.track.id)
    record, place = work.record, work.place
    terms, choices, seed = record.remix.terms, record.remix.choices, record.remix.seed
    card = generator_of(terms)
    engine = place.models.engine(permit, card.name, commercial=terms.commercial)
    sampling = _sampling(engine.generator.config.sampling, choices.guidance, terms.guidance)
    told = {name: getattr(choices, name) for name in choices.controls}
    redone = redone_spans(choices)
    parameters = {
        **asdict(sampling),
        "candidates": CANDIDATES,
        **told,
        **({} if redone is None else {"redo": [list(span) for span in redone]}),
        **_arithmetic(engine),
    }
    key = artefact_key(
        "regenerate",
        stems=_heard(record.made["separate"].objects, terms.part, redone),
        part=terms.part,
        style=choices.style,
        tempo_percent=choices.tempo_percent,
        key_semitones=choices.key_semitones,
        seed=seed,
        checkpoints={n: permit.checkpoints[n] for n in (card.name, *card.requires)},
        parameters=parameters,
    )
    kept = find(place.database, place.objects, key)
    if kept is not None:
        return kept

    context, bed = _context(permit, work, engine.sample_rate)
    request = GenerationRequest(
        context=context,
        style=_style(engine, choices.style),
        seed=seed,
        candidates=CANDIDATES,
        sampling=sampling,
        **told,
    )
    if redone is not None:
        request = _keeping(permit, work, engine, request, redone)
    listen = None
    if record.kind == "remix" and place.settings.excerpt_seconds > 0:
        listen = Excerpts(
            permit,
            work,
            bed=bed,
            kept=tuple(kept_names(work)),
            samples=context.shape[1],
            part_rate=engine.sample_rate,
            parameters=parameters,
        )
    try:
        handle = engine.submit(request, listen)
    except InvalidGenerationRequest as error:
        raise GenerationRefused(str(error), field=error.field) from error
    generation = _wait(permit, handle, work)
    part = Audio(
        np.ascontiguousarray(generation.audio.numpy(), dtype=np.float32), engine.sample_rate
    )
    path = write_audio(permit, work.folder / "part.wav", part)
    digest = place.objects.put(permit, path)
    meta = {
        "parameters": parameters,
        "chosen": generation.chosen,
        "scores": [round(score, 6) for score in generation.scores],
    }
    return Made(key, "regenerate", digest, MEDIA_TYPE, meta)


def _wait(permit: Permit, handle: Handle, work: Work) -> Generation:
    # Whatever ends the wait early ends the generation too, before the model's next step.
    try:
        while not handle.done:
            permit.require("regenerate")
            work.watch.check()
            work.watch.progress(handle.progress)
            with suppress(TimeoutError):
                handle.result(timeout=LOOK_SECONDS)
        return handle.result()
    finally:
        handle.cancel()


def _context(permit: Permit, work: Work, sample_rate: int) -> tuple[torch.Tensor, Audio]:
    """The sum of the stems that stay, mono, float32 [1, T] at the codec's rate.

    And its beginning as it is in the mix, as much as excerpts are made of.
    """
    total: Audio | None = None
    bed = np.zeros((0, 0), np.float32)
    for audio in kept_stems(permit, work):
        mono = audio.samples.mean(axis=0, keepdims=True)
        # A little more than is heard: the last samples that are told need what follows them.
        heard = round((work.place.settings.excerpt_seconds + 1) * audio.sample_rate)
        beginning = audio.samples[:, :heard]
        if total is None:
            total, bed = Audio(mono, audio.sample_rate), beginning.copy()
        else:
            total = Audio(total.samples + mono, audio.sample_rate)
            bed += beginning
    if total is None:
        raise GenerationRefused("no stem stays, so there is nothing to play along with")
    context = torch.from_numpy(resample(permit, total, sample_rate).samples)
    return context, Audio(bed, total.sample_rate)


def _heard(stems: Mapping[str, str], part: str, redone: Spans | None) -> dict[str, str]:
    """Digests of the stems that the part depends on: its own only where some of it stays."""
    return {name: digest for name, digest in stems.items() if name != part or redone is not None}


def _keeping(
    permit: Permit, work: Work, engine: Engine, request: GenerationRequest, redone: Spans
) -> GenerationRequest:
    """The request with the recorded part's own codes outside the spans to be redone.

    They are what the new bars continue and lead back to; what is heard outside the spans is the
    stem itself (see `mix`).
    """
    stem = replaced_stem(permit, work)
    mono = Audio(stem.samples.mean(axis=0, keepdims=True), stem.sample_rate)
    waveform = torch.from_numpy(resample(permit, mono, engine.sample_rate).samples)
    length = request.context.shape[1]
    waveform = functional.pad(waveform[:, :length], (0, max(0, length - waveform.shape[1])))
    codes = engine.codec.encode(waveform[None])[0]
    kept = torch.ones(codes.shape[1], dtype=torch.bool)
    rate = engine.codec.frame_rate
    for start, end in redone:
        kept[math.floor(start * rate) : math.ceil(end * rate)] = False
    if bool(kept.all()):
        raise GenerationRefused("no span to be redone lies inside the song", field="redo")
    return replace(request, kept_codes=codes, kept_mask=kept)


def _sampling(usual: Sampling, guidance: float | None, bounds: GuidanceBounds) -> Sampling:
    """The listener's one dial turns both guidances, in the ratio of the checkpoint's ``usual``."""
    if guidance is None:
        guidance = min(max(usual.guidance_context, bounds.min), bounds.max)
    ratio = usual.guidance_style / usual.guidance_context
    told = min(guidance * ratio, MOST_GUIDANCE)
    return replace(usual, guidance_context=guidance, guidance_style=told)


def _style(engine: Engine, style: str) -> str:
    """The checkpoint's own spelling of a style."""
    known = {name.casefold(): name for name in engine.generator.config.styles}
    return known.get(style.casefold(), style)


def _arithmetic(engine: Engine) -> dict[str, Any]:
    """Device, dtype, width and kernel: with them the same job gives the same samples.

    The width is how many rows every product has at least: one on a CPU, all there are on a GPU.
    Other jobs' rows change no bit.
    """
    decoder = engine.decoder
    return {
        "device": decoder.device.type,
        "dtype": decoder.precision,
        "width": decoder.least_rows,
        **({} if decoder.kernel is None else {"kernel": decoder.kernel}),
    }
