"""Three ways to run one and the same MusicGen decoder: transformers', audiocraft's and ours.

    python -m workers.benchmarks.engine_systems '{"model": "bundled", "threads": 1, …}'

Prints one line of JSON; ``reprise bench engine`` starts it, a process for every configuration,
because threads cannot be taken away later. Runs of the systems are interleaved, so that whatever
else the machine does meets all of them.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from workers.benchmarks.machine import Machine, measured, wait_for
from workers.benchmarks.weights import Weights
from workers.regeneration.audiocraft_state import to_audiocraft
from workers.regeneration.batch import Batch
from workers.regeneration.decoder.decoder import Decoder
from workers.regeneration.decoder.linear import DTYPES, Precision
from workers.regeneration.guidance import Sampling
from workers.regeneration.loading import open_generator
from workers.regeneration.sampling import Sequence as Sampled
from workers.regeneration.sampling import Told
from workers.regeneration.torchaudio_stub import make_torchaudio_importable
from workers.threads import computing_with

make_torchaudio_importable()

from transformers import (  # noqa: E402
    DynamicCache,
    EncoderDecoderCache,
    MusicgenForCausalLM,
    MusicgenMelodyForCausalLM,
    StaticCache,
)
from transformers.models.musicgen.configuration_musicgen import (  # noqa: E402
    MusicgenDecoderConfig,
)
from transformers.models.musicgen_melody.configuration_musicgen_melody import (  # noqa: E402
    MusicgenMelodyDecoderConfig,
)

GUIDANCE, TOP_K, TEXT = 3.0, 128, 12
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 64},
    "cross": {},
    "medium": {
        "hidden_size": 1536, "num_hidden_layers": 48, "num_attention_heads": 24, "ffn_dim": 6144
    },
    "large": {
        "hidden_size": 2048, "num_hidden_layers": 48, "num_attention_heads": 32, "ffn_dim": 8192
    },
}  # fmt: skip
"""Of decoders that look at what they are told, as the published ones; transformers' defaults are
musicgen-small's."""
MODELS = ("bundled", "small", *SIZES)
BITS: dict[Precision, int] = {"float32": 32, "bfloat16": 16, "int8": 8}
_AGREED = 12


@dataclass(frozen=True)
class Case:
    """A configuration: what runs, in which precision, with how many threads.

    ``compiled`` tries ``torch.compile`` on transformers' model too, which takes minutes. ``fixed``
    is how our batch steps, ``None`` as the device has it.
    """

    model: str
    threads: int
    precision: Precision
    jobs: tuple[int, ...]
    frames: int
    rounds: int
    device: str = "cpu"
    compiled: bool = False
    fixed: bool | None = None


@dataclass(frozen=True)
class Took:
    """Seconds of a run by the clock and by the processor; most bytes of all tensors on a GPU."""

    wall: float
    cpu: float
    peak: int = 0


@dataclass(frozen=True)
class Stock:
    """transformers' decoder, and what both branches of the guidance are told.

    ``told`` [2, S, width]: with it first, then zeros. Melody reads it as a prefix, the other looks
    at it.
    """

    model: Any
    told: Tensor
    melody: bool

    @property
    def codebooks(self) -> int:
        """Of the decoder."""
        return int(self.model.config.num_codebooks)


def opened(case: Case) -> Stock:
    """The bundled drums' decoder, or random weights of a published decoder's size.

    "small" reads what it is told as a prefix (319 M weights), the others look at it: "cross" as
    musicgen-small does (420 M).
    """
    torch.manual_seed(0)
    model: Any
    if case.model == "bundled":
        generator = open_generator(Weights().files("reprise-drums"))
        model, length = generator.decoder, generator.config.prefix_length
    else:
        length = TEXT
        # Billions of random numbers are drawn where they are needed.
        with torch.device(case.device):
            if case.model == "small":
                model = MusicgenMelodyForCausalLM(MusicgenMelodyDecoderConfig())
            else:
                model = MusicgenForCausalLM(MusicgenDecoderConfig(**SIZES[case.model]))
    melody = isinstance(model, MusicgenMelodyForCausalLM)
    config = model.config
    model.generation_config.update(
        pad_token_id=config.vocab_size, bos_token_id=config.vocab_size,
        decoder_start_token_id=config.vocab_size, eos_token_id=None, max_length=None,
    )  # fmt: skip
    dtype = DTYPES[case.precision]
    model.to(device=case.device, dtype=dtype).eval().requires_grad_(False)
    told = torch.randn(1, length, config.hidden_size).to(device=case.device, dtype=dtype)
    return Stock(model, torch.cat([told, torch.zeros_like(told)]), melody)


def weights_read(stock: Stock) -> int:
    """How many weights every step multiplies with."""
    inner = stock.model.model.decoder
    products = [
        module.weight.numel()
        for layer in inner.layers
        for name, module in layer.named_modules()
        if isinstance(module, nn.Linear)
        and name not in ("encoder_attn.k_proj", "encoder_attn.v_proj")
    ]
    return sum(products) + sum(head.weight.numel() for head in stock.model.lm_heads)


class Transformers:
    """``generate`` of transformers, one sequence; ``how`` names its settings."""

    def __init__(self, stock: Stock, how: str) -> None:
        self._stock, self.how = stock, how
        self._model = stock.model
        self._static = "static" in how

    def run(self, frames: int, *, greedy: bool = False) -> Tensor:
        """Codes int64 [1, K, F]."""
        stock, books = self._stock, self._stock.codebooks
        start = torch.full((books, 1), self._model.config.vocab_size, device=stock.told.device)
        # Melody's own code adds the branch of zeros, the other's does not.
        told = stock.told[:1] if stock.melody else stock.told
        self._model.set_attn_implementation("eager" if "eager" in self.how else "sdpa")
        settings: dict[str, Any] = {}
        longest = frames + books
        if not stock.melody:
            # Its own generate gives one cache to both attentions, which then get into each other.
            own = self._model.config
            kept = StaticCache(own, longest) if self._static else DynamicCache(config=own)
            settings["past_key_values"] = EncoderDecoderCache(kept, DynamicCache(config=own))
        elif self._static:
            settings["cache_implementation"] = "static"
        made: Tensor = self._model.generate(
            start,
            encoder_hidden_states=told,
            # Else a mask is made that has a row for each codebook, not for each sequence.
            encoder_outputs=None,
            guidance_scale=GUIDANCE,
            do_sample=not greedy,
            top_k=None if greedy else TOP_K,
            max_new_tokens=frames + books - 1,
            num_return_sequences=1,
            num_beams=1,
            **settings,
        )
        return made


class Audiocraft:
    """``generate`` of audiocraft's own model with the same weights, one sequence."""

    how = "its streaming attention"

    def __init__(self, stock: Stock) -> None:
        import workers.compiled_librosa  # noqa: F401 - audiocraft imports librosa

        told = stock.told
        from audiocraft.models.lm import LMModel
        from audiocraft.modules.codebooks_patterns import DelayedPatternProvider
        from audiocraft.modules.conditioners import ConditionFuser, ConditioningProvider

        class Provider(ConditioningProvider):
            """What is told is at hand."""

            def tokenize(self, inputs: list[Any]) -> dict[str, Any]:
                """Nothing to do."""
                return {}

            def forward(self, tokenized: dict[str, Any]) -> dict[str, tuple[Tensor, Tensor]]:
                """Both branches."""
                return {"told": (told, torch.ones(told.shape[:2], device=told.device))}

        fused: dict[str, list[str]] = {
            "sum": [], "prepend": [], "cross": [], "input_interpolate": []
        }  # fmt: skip
        fused["prepend" if stock.melody else "cross"] = ["told"]
        config = stock.model.config
        self._model = LMModel(
            DelayedPatternProvider(config.num_codebooks), Provider({}), ConditionFuser(fused),
            n_q=config.num_codebooks, card=config.vocab_size, dim=config.hidden_size,
            num_heads=config.num_attention_heads, hidden_scale=config.ffn_dim / config.hidden_size,
            norm="layer_norm", norm_first=True, bias_proj=False,
            num_layers=config.num_hidden_layers, dropout=0.0, activation="gelu", bias_ff=False,
            bias_attn=False, causal=True, custom=False, memory_efficient=True,
            cross_attention=not stock.melody, positional_embedding="sin",
        )  # fmt: skip
        self._model.load_state_dict(to_audiocraft(stock.model.state_dict()), assign=True)
        self._model = self._model.eval().requires_grad_(False).to(told.device)

    def run(self, frames: int, *, greedy: bool = False) -> Tensor:
        """Codes int64 [1, K, F]."""
        from audiocraft.modules.conditioners import ConditioningAttributes

        made: Tensor = self._model.generate(
            conditions=[ConditioningAttributes()], max_gen_len=frames, use_sampling=not greedy,
            top_k=TOP_K, cfg_coef=GUIDANCE,
        )  # fmt: skip
        return made


class Ours:
    """Our batch, with as many sequences at once as are asked for."""

    def __init__(self, stock: Stock, case: Case) -> None:
        self._stock = stock
        self.how = f"batch, {case.precision}"
        self._decoder = Decoder(stock.model, 2 * max(case.jobs), case.precision)
        positions = stock.told.shape[1] + max(case.frames, _AGREED) + stock.codebooks
        self._batch = Batch(self._decoder, positions, fixed=case.fixed)
        self._batch.prepare()
        # As the engine steps.
        with computing_with(1) as begin:
            self._steps = ThreadPoolExecutor(1, "engine", initializer=begin)
            self._steps.submit(bool)

    @property
    def steps(self) -> str:
        """How the batch steps, in words."""
        return self._batch.steps

    def run(self, frames: int, jobs: int = 1, *, greedy: bool = False) -> Tensor:
        """Codes int64 [jobs, K, F]."""
        return self._steps.submit(self._run, frames, jobs, greedy).result()

    @torch.inference_mode()
    def _run(self, frames: int, jobs: int, greedy: bool) -> Tensor:
        sequences = [self._sequence(frames, number, greedy) for number in range(jobs)]
        batch = self._batch
        for sequence in sequences:
            batch.join(sequence)
        while batch.busy:
            for ended in batch.advance():
                if ended.error is not None:
                    raise ended.error
        return torch.cat([sequence.codes for sequence in sequences])

    def _sequence(self, frames: int, number: int, greedy: bool) -> Sampled:
        told, size, device = self._stock.told, self._decoder.codebook_size, self._stock.told.device
        given = Told(told) if self._stock.melody else Told(told[:, :0], None, told)
        return Sampled(
            torch.full((1, self._stock.codebooks, frames), size, device=device),
            torch.zeros(1, frames, dtype=torch.bool, device=device),
            size,
            size,
            given,
            torch.tensor([GUIDANCE, 1.0 - GUIDANCE], device=device),
            Sampling(temperature=0.0 if greedy else 1.0, top_k=TOP_K),
            [torch.Generator().manual_seed(number)],
        )


def _timed(act: Callable[[], object], device: torch.device) -> Took:
    wait_for(device)
    gpu = device.type == "cuda"
    if gpu:
        torch.cuda.reset_peak_memory_stats(device)
    wall, cpu = time.perf_counter(), time.process_time()
    act()
    wait_for(device)
    took = time.perf_counter() - wall, time.process_time() - cpu
    return Took(*took, torch.cuda.max_memory_allocated(device) if gpu else 0)


def _best_settings(stock: Stock, case: Case, device: torch.device) -> tuple[str, dict[str, Any]]:
    """The fastest of transformers' settings on a short run; what each took, or why it failed."""
    tried: dict[str, Any] = {}
    frames = max(4, case.frames // 4)
    ways = ["dynamic cache, sdpa", "dynamic cache, eager", "static cache, sdpa"]
    for how in ways + (["static cache, sdpa, compiled"] if case.compiled else []):
        try:
            if "compiled" in how:
                stock.model.forward = torch.compile(stock.model.forward, dynamic=True)
            system = Transformers(stock, how)
            system.run(frames)
            tried[how] = min(
                _timed(lambda system=system: system.run(frames), device).wall  # type: ignore[misc]
                for _ in range(2)
            ) / (frames + stock.codebooks - 1)
        # Whatever goes wrong in a setting, the others are tried.
        except Exception as error:  # noqa: BLE001
            tried[how] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:120]}"
        finally:
            if "compiled" in how:
                del stock.model.forward
    works = {how: took for how, took in tried.items() if isinstance(took, float)}
    if not works:
        raise RuntimeError(f"no setting of transformers works: {tried}")
    return min(works, key=works.__getitem__), tried


def measure(case: Case) -> dict[str, Any]:
    """All figures of one configuration, as JSON types."""
    torch.set_num_threads(case.threads)
    device = torch.device(case.device)
    stock = opened(case)
    weights = weights_read(stock)
    machine = measured(weights * BITS[case.precision] // 8, DTYPES[case.precision], device)
    # Without a gradient's traces: all three promise as much.
    with torch.inference_mode():
        settings, tried = _best_settings(stock, case, device)
    theirs, audiocraft, ours = Transformers(stock, settings), Audiocraft(stock), Ours(stock, case)
    agree: bool | None = None
    if case.precision == "float32":
        codes = [system.run(_AGREED, greedy=True) for system in (theirs, audiocraft, ours)]
        agree = all(torch.equal(codes[0], other) for other in codes[1:])
    ours.run(case.frames // 4 + 1, max(case.jobs))
    audiocraft.run(case.frames // 4 + 1)
    took: dict[str, list[Took]] = {}
    for _ in range(case.rounds):
        runs: list[tuple[str, Callable[[], object]]] = [
            ("transformers", lambda: theirs.run(case.frames)),
            ("audiocraft", lambda: audiocraft.run(case.frames)),
        ]
        runs += [
            (f"ours {jobs}", lambda jobs=jobs: ours.run(case.frames, jobs))  # type: ignore[misc]
            for jobs in case.jobs
        ]
        for name, act in runs:
            took.setdefault(name, []).append(_timed(act, device))
    steps = case.frames + stock.codebooks - 1
    return {
        "case": asdict(case), "weights": weights, "settings": settings, "tried": tried,
        "codes_agree": agree, "steps": ours.steps, "machine": asdict(machine),
        "load": os.getloadavg(),
        "rows": _rows(case, took, steps, machine, weights),
    }  # fmt: skip


def _rows(
    case: Case, took: dict[str, list[Took]], steps: int, machine: Machine, weights: int
) -> list[dict[str, Any]]:
    """One row for each system and number of jobs; a ratio is the median of the rounds'."""
    rows = []
    for name, runs in took.items():
        jobs = int(name.removeprefix("ours ")) if name.startswith("ours") else 1
        wall = statistics.median(run.wall for run in runs)
        read = weights * BITS[case.precision] // 8
        floor = machine.floor_s(read, 2.0 * weights * 2 * jobs)

        def ratio(other: str, clock: str, jobs: int = jobs, runs: Sequence[Took] = runs) -> float:
            return statistics.median(
                jobs * getattr(theirs, clock) / getattr(mine, clock)
                for theirs, mine in zip(took[other], runs, strict=True)
            )

        rows.append({
            "system": name.split()[0], "jobs": jobs, "frames_per_s": jobs * case.frames / wall,
            "ms_per_step": 1000 * wall / steps, "floor_ms": 1000 * floor,
            "share_of_floor": floor * steps / wall,
            "peak_bytes": max(run.peak for run in runs),
            **{
                f"{clock}_times_{other}": ratio(other, clock)
                for other in ("transformers", "audiocraft") for clock in ("wall", "cpu")
            },
            "seconds": [asdict(run) for run in runs],
        })  # fmt: skip
    return rows


def main() -> int:
    """Measure the case that the first argument describes."""
    given = json.loads(sys.argv[1])
    case = Case(**{f.name: given[f.name] for f in fields(Case) if f.name in given})
    print(json.dumps(measure(case)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
