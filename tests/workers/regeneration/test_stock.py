"""Stock checkpoints give what transformers gives, audiocraft's weights what audiocraft gives."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from stock_fixtures import SMALL, TINY, generated, saved, stock
from torch import Tensor

from workers.regeneration.audiocraft_state import (
    NotALanguageModel,
    decoder_from_audiocraft,
    from_audiocraft,
    to_audiocraft,
)
from workers.regeneration.batch import Batch, sampled
from workers.regeneration.decoder.decoder import Decoder
from workers.regeneration.guidance import Sampling
from workers.regeneration.sampling import Sequence
from workers.regeneration.stock import StockGenerator, UnsupportedCheckpoint, load_stock

GREEDY = Sampling(temperature=0.0)
KINDS = ("musicgen", "musicgen_melody")
TOKENS = torch.tensor([[5, 6, 7, 8, 1], [9, 3, 1, 0, 0]])
MASK = (TOKENS != 0).long()


def generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(n) for n in range(count)]


def stepped(decoder: Decoder, columns: Tensor, prefix: Tensor | None, look: Any = None) -> Tensor:
    """Our logits [rows, K, S, V] after every column of int64 [rows, K, S], read one by one."""
    rows, _, size = columns.shape
    prefix = torch.zeros(rows, 0, decoder.width) if prefix is None else prefix
    cache = decoder.cache(prefix.shape[1] + size)
    block = cache.take(rows)
    if look is not None:
        decoder.look_at(block, *look)
    embedded = decoder.embed(columns.transpose(1, 2))
    states = [decoder.read(cache, block, torch.cat([prefix, embedded[:, :1]], dim=1))]
    states += [decoder.step(cache, [block], embedded[:, s]) for s in range(1, size)]
    return torch.stack([decoder.logits(state) for state in states], dim=2)


def columns_of(decoder: Decoder, rows: int, size: int) -> Tensor:
    shape = (rows, decoder.codebooks, size)
    generator = torch.Generator().manual_seed(7)
    return torch.randint(decoder.codebook_size + 1, shape, generator=generator)


def test_every_step_with_cross_attention_and_a_mask_equals_transformers_forward() -> None:
    model = stock("musicgen", TINY)
    decoder = Decoder(model.decoder, 4)
    columns = columns_of(decoder, 3, 30)
    looked = torch.randn(3, 6, 32, generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0], [0, 1, 1, 1, 0, 0]])
    whole = model.decoder(
        input_ids=columns.flatten(0, 1),
        encoder_hidden_states=looked,
        encoder_attention_mask=mask,
        use_cache=False,
    ).logits.unflatten(0, (3, 4))
    ours = stepped(decoder, columns, None, (looked, mask.bool()))
    torch.testing.assert_close(ours, whole, atol=1e-4, rtol=0)


def test_every_step_behind_a_prefix_equals_transformers_forward() -> None:
    model = stock("musicgen_melody", TINY)
    decoder = Decoder(model.decoder, 4)
    columns = columns_of(decoder, 3, 30)
    prefix = torch.randn(3, 6, 32, generator=torch.Generator().manual_seed(1))
    whole = model.decoder(
        input_ids=columns.flatten(0, 1), encoder_hidden_states=prefix, use_cache=False
    ).logits.unflatten(0, (3, 4))[:, :, 6:]
    torch.testing.assert_close(stepped(decoder, columns, prefix), whole, atol=1e-4, rtol=0)


@pytest.mark.parametrize("guidance", [3.0, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_greedy_codes_and_audio_are_those_of_generate(
    kind: str, guidance: float, tmp_path: Path
) -> None:
    model = stock(kind, TINY)
    codes, audio = generated(model, 20, guidance, input_ids=TOKENS, attention_mask=MASK)
    assert len(codes.unique()) > 4
    ours = load_stock(saved(model, tmp_path / "stock"), rows=4)
    sequence = ours.sequence(
        20, generators(2), tokens=TOKENS, mask=MASK, guidance=guidance, sampling=GREEDY
    )
    assert sequence.rows == (4 if guidance > 1 else 2)
    made = sampled(ours.decoder, sequence)
    assert torch.equal(made, codes)
    torch.testing.assert_close(ours.decode(made), audio, atol=1e-5, rtol=0)


@pytest.mark.parametrize("length", [2, 5, 9])
def test_greedy_codes_with_a_melody_are_those_of_generate(length: int, tmp_path: Path) -> None:
    """Shorter chroma is repeated, longer is cut."""
    model = stock("musicgen_melody", TINY)
    chroma = torch.rand(2, length, 12, generator=torch.Generator().manual_seed(1))
    codes, _ = generated(
        model, 12, 3.0, input_ids=TOKENS, attention_mask=MASK, input_features=chroma.clone()
    )
    ours = load_stock(saved(model, tmp_path / "stock"), rows=4)
    told = {"tokens": TOKENS, "mask": MASK, "sampling": GREEDY}
    made = sampled(ours.decoder, ours.sequence(12, generators(2), chroma=chroma, **told))
    assert torch.equal(made, codes)
    without = sampled(ours.decoder, ours.sequence(12, generators(2), **told))
    assert not torch.equal(without, codes)


@pytest.mark.parametrize("kind", KINDS)
def test_texts_of_several_lengths_share_a_batch_and_get_what_they_get_alone(
    kind: str, tmp_path: Path
) -> None:
    ours = load_stock(saved(stock(kind, TINY), tmp_path / "stock"), rows=8)
    texts = [torch.tensor([[5, 6, 7, 1]]), torch.tensor([[9, 1]]), torch.tensor([[3, 4, 5, 6, 1]])]

    def asked() -> list[Sequence]:
        return [
            ours.sequence(frames, generators(1), tokens=text)
            for frames, text in zip((9, 14, 11), texts, strict=True)
        ]

    alone = [sampled(ours.decoder, sequence) for sequence in asked()]
    together = asked()
    batch = Batch(ours.decoder, max(sequence.positions for sequence in together))
    for sequence in together:
        batch.join(sequence)
        batch.advance()
    while batch.busy:
        assert all(ended.error is None for ended in batch.advance())
    for sequence, codes in zip(together, alone, strict=True):
        assert torch.equal(sequence.codes, codes)


def test_a_checkpoint_of_musicgen_small_s_size_generates_what_transformers_generates(
    tmp_path: Path,
) -> None:
    """24 layers of 1024, 420 million weights with the cross-attention, in the public format."""
    model = stock("musicgen", SMALL)
    assert sum(weight.numel() for weight in model.decoder.parameters()) > 400e6
    codes, _ = generated(model, 4, 3.0, input_ids=TOKENS[:1], attention_mask=MASK[:1])
    folder = saved(model, tmp_path / "small")
    del model
    ours = load_stock(folder, rows=2)
    # pytest keeps what three runs wrote, and this is more than a gigabyte.
    shutil.rmtree(folder)
    made = sampled(
        ours.decoder, ours.sequence(4, generators(1), tokens=TOKENS[:1], sampling=GREEDY)
    )
    assert torch.equal(made, codes)


def rewritten(folder: Path, change: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(model_type="bark"), "bark"),
        (lambda c: c["decoder"].update(audio_channels=2), "stereo"),
        (lambda c: c["decoder"].update(ffn_dim=64), r"fc1\.weight is \[48, 32\]"),
        (lambda c: c["decoder"].update(num_hidden_layers=3), r"layers\.2\..* is missing"),
        (lambda c: c["decoder"].update(num_hidden_layers=1), r"layers\.1\..* is not in the model"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(
    change: Any, said: str, tmp_path: Path
) -> None:
    folder = saved(stock("musicgen", TINY), tmp_path / "stock")
    rewritten(folder, change)
    with pytest.raises(UnsupportedCheckpoint, match=said):
        load_stock(folder, rows=2)


def test_a_tensor_that_is_missing_is_not_made_up(tmp_path: Path) -> None:
    folder = saved(stock("musicgen", TINY), tmp_path / "stock")
    file = folder / "model.safetensors"
    state = load_file(file)
    del state["enc_to_dec_proj.weight"]
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(UnsupportedCheckpoint, match=r"enc_to_dec_proj\.weight is missing"):
        load_stock(folder, rows=2)


def test_pickled_weights_are_not_opened(tmp_path: Path) -> None:
    folder = saved(stock("musicgen", TINY), tmp_path / "stock")
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(UnsupportedCheckpoint, match="pickles"):
        load_stock(folder, rows=2)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StockGenerator]:
    folder = tmp_path_factory.mktemp("stock")
    return {kind: load_stock(saved(stock(kind, TINY), folder / kind), rows=4) for kind in KINDS}


@pytest.mark.parametrize(
    ("kind", "frames", "told", "said"),
    [
        ("musicgen", 5, {}, "tokens or states"),
        ("musicgen", 5, {"states": torch.zeros(1, 3, 25)}, r"states: \[1, 3, 25\]"),
        ("musicgen", 5, {"tokens": TOKENS, "mask": MASK[:, :3]}, "mask"),
        ("musicgen", 5, {"tokens": TOKENS, "mask": MASK * 0}, "mask"),
        ("musicgen", 5, {"tokens": TOKENS, "chroma": torch.zeros(2, 5, 12)}, "chroma"),
        ("musicgen_melody", 5, {"tokens": TOKENS, "chroma": torch.zeros(2, 5, 11)}, "chroma"),
        ("musicgen_melody", 5, {"tokens": TOKENS, "chroma": torch.zeros(3, 5, 12)}, "chroma"),
        ("musicgen", 0, {"tokens": TOKENS}, "0 frames"),
        ("musicgen", 126, {"tokens": TOKENS}, "129 positions"),
        ("musicgen_melody", 116, {"tokens": TOKENS}, "129 positions"),
    ],
)
def test_what_does_not_fit_a_checkpoint_is_refused_by_name(
    opened: dict[str, StockGenerator], kind: str, frames: int, told: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        opened[kind].sequence(frames, generators(2), **told)


def test_codes_of_another_number_of_books_are_not_decoded(
    opened: dict[str, StockGenerator],
) -> None:
    with pytest.raises(ValueError, match="codes"):
        opened["musicgen"].decode(torch.zeros(1, 3, 5, dtype=torch.int64))


def audiocraft_model(*, looks: bool) -> Any:
    """audiocraft's own model with random weights, built as MusicGen's are."""
    import workers.compiled_librosa  # noqa: F401 - audiocraft imports librosa

    torch.manual_seed(3)
    from audiocraft.models.lm import LMModel
    from audiocraft.modules.codebooks_patterns import DelayedPatternProvider
    from audiocraft.modules.conditioners import ConditionFuser, ConditioningProvider

    fused = {"cross" if looks else "prepend": ["text"]}
    every: dict[str, list[str]] = {"sum": [], "prepend": [], "cross": [], "input_interpolate": []}
    model = LMModel(
        DelayedPatternProvider(4), ConditioningProvider({}), ConditionFuser({**every, **fused}),
        n_q=4, card=16, dim=32, num_heads=4, hidden_scale=2, norm="layer_norm", norm_first=True,
        bias_proj=False, num_layers=2, dropout=0.0, activation="gelu", bias_ff=False,
        bias_attn=False, causal=True, custom=False, memory_efficient=True,
        cross_attention=looks, positional_embedding="sin",
    )  # fmt: skip
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(std=0.3)
            else:
                weight.add_(torch.randn_like(weight) * 0.2)
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("looks", [True, False])
def test_an_audiocraft_state_gives_audiocraft_s_logits_at_every_step(looks: bool) -> None:
    theirs = audiocraft_model(looks=looks)
    converted = decoder_from_audiocraft(theirs.state_dict(), heads=4, positions=64)
    decoder = Decoder(converted, 3)
    columns = columns_of(decoder, 3, 25)
    told = torch.randn(3, 6, 32, generator=torch.Generator().manual_seed(1))
    whole = theirs(columns, [], {"text": (told, torch.ones(3, 6))})
    ours = stepped(decoder, columns, None if looks else told, (told,) if looks else None)
    torch.testing.assert_close(ours, whole, atol=1e-4, rtol=0)
    back = to_audiocraft(converted.state_dict())
    assert back.keys() == theirs.state_dict().keys()
    assert all(torch.equal(back[name], weight) for name, weight in theirs.state_dict().items())


def test_projections_of_an_audiocraft_state_are_kept_apart() -> None:
    conditioners = "condition_provider.conditioners"
    state = {
        f"{conditioners}.description.output_proj.weight": torch.zeros(4, 3),
        f"{conditioners}.self_wav.output_proj.bias": torch.zeros(4),
    }
    made, around = from_audiocraft(state)
    assert not made
    assert set(around) == {"enc_to_dec_proj.weight", "audio_enc_to_dec_proj.bias"}


def test_a_state_that_is_no_language_model_is_refused_by_name() -> None:
    good = to_audiocraft(stock("musicgen", TINY).decoder.state_dict())
    heads = {"heads": 4, "positions": 64}
    with pytest.raises(NotALanguageModel, match=r"encoder\.layer"):
        decoder_from_audiocraft({**good, "encoder.layer": torch.zeros(1)}, **heads)
    name = "transformer.layers.0.self_attn.in_proj_weight"
    with pytest.raises(NotALanguageModel, match=name):
        decoder_from_audiocraft({**good, name: torch.zeros(95, 32)}, **heads)
    lacking = {key: weight for key, weight in good.items() if key != "emb.0.weight"}
    with pytest.raises(NotALanguageModel, match=r"embed_tokens\.0"):
        decoder_from_audiocraft(lacking, **heads)
    lacking = {key: weight for key, weight in good.items() if not key.startswith("out_norm")}
    with pytest.raises(NotALanguageModel, match="layer_norm"):
        decoder_from_audiocraft(lacking, **heads)
    with pytest.raises(NotALanguageModel, match="nonsense"):
        to_audiocraft({"nonsense": torch.zeros(1)})
