"""The generator against transformers' own forward pass, and the delay pattern."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from generator_fixtures import stepwise, tiny_config, tiny_generator, window_of
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.regeneration.conditioning import ContextConfig
from workers.regeneration.controls import ControlValue, UnknownControl, row_of
from workers.regeneration.delay import delay, undelay
from workers.regeneration.guidance import Sampling
from workers.regeneration.model import GeneratorConfig, Window, load_generator


@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 12), st.integers(0, 2**31))
@settings(deadline=None, max_examples=50)
def test_delay_and_undelay_are_inverse(batch: int, codebooks: int, frames: int, seed: int) -> None:
    codes = torch.randint(
        9, (batch, codebooks, frames), generator=torch.Generator().manual_seed(seed)
    )
    columns = delay(codes, padding=9)
    assert columns.shape == (batch, codebooks, frames + codebooks)
    assert torch.equal(undelay(columns), codes)
    assert int((columns == 9).sum()) == batch * codebooks * codebooks


def test_the_delay_pattern_is_the_one_transformers_builds() -> None:
    model = tiny_generator()
    codes = torch.randint(16, (1, 3, 6))
    # transformers marks a free cell with -1.
    start = torch.full((3, 1), model.config.padding)
    _, mask = model.decoder.build_delay_pattern_mask(
        start, pad_token_id=model.config.padding, max_length=6 + 3
    )
    ours = delay(codes, model.config.padding)[0]
    assert torch.equal(mask == -1, ours != model.config.padding)


def test_a_context_matrix_of_zeros_gives_exactly_stock_logits() -> None:
    model = tiny_generator(additive=0.0)
    window = window_of(model, batch=2, frames=30)
    columns = delay(window.kept_codes, model.config.padding)[:, :, :-1]
    prefix, additive, _ = model.condition(window)
    with torch.no_grad():
        ours = model(columns, prefix, additive)
        stock = model.decoder(
            input_ids=columns.flatten(0, 1), encoder_hidden_states=prefix, use_cache=False
        ).logits.unflatten(0, (2, 3))
    assert torch.equal(ours, stock[:, :, prefix.shape[1] :])


def test_stepwise_logits_equal_the_full_forward_pass() -> None:
    model = tiny_generator()
    window = window_of(model, batch=3, frames=40)
    columns = delay(window.kept_codes, model.config.padding)[:, :, :-1]
    condition = model.condition(window)
    prefix, additive, _ = condition
    embedded = model.inputs(columns, additive)
    with torch.no_grad():
        # transformers' own path: no cache, no code of ours after the embeddings.
        logits = model.decoder(
            inputs_embeds=embedded, encoder_hidden_states=prefix, use_cache=False
        ).logits.unflatten(0, (3, 3))[:, :, prefix.shape[1] :]
        for step, seen in enumerate(stepwise(model, condition, columns)):
            torch.testing.assert_close(seen, logits[:, :, step], atol=1e-4, rtol=0)


def test_the_context_of_a_frame_is_added_where_its_first_codebook_is_predicted() -> None:
    model = tiny_generator()
    columns = delay(torch.zeros(1, 3, 20, dtype=torch.int64), model.config.padding)[:, :, :-1]
    additive = torch.zeros(1, 20, 32)
    plain = model.inputs(columns, additive)
    additive[0, 7] = 1.0
    changed = (model.inputs(columns, additive) - plain).abs().sum(dim=-1)[0].nonzero().flatten()
    assert changed.tolist() == [7]


def test_codes_of_frames_that_are_not_kept_are_not_seen() -> None:
    model = tiny_generator()
    window = window_of(model, batch=2, frames=30)
    other = torch.where(window.kept_mask[:, None], window.kept_codes, 5)
    kept_changed = torch.where(window.kept_mask[:, None], 5, window.kept_codes)
    with torch.no_grad():
        seen = model.condition(window).additive
        assert torch.equal(model.condition(replace(window, kept_codes=other))[1], seen)
        assert not torch.allclose(
            model.condition(replace(window, kept_codes=kept_changed))[1], seen
        )


def test_a_generator_is_loaded_from_what_was_written() -> None:
    model = tiny_generator()
    state = {name: weight.half() for name, weight in model.state_dict().items()}
    loaded = load_generator({**model.config.to_dict(), "training": {}}, state)
    assert loaded.config == model.config
    assert all(weight.dtype == torch.float32 for weight in loaded.parameters())
    window = window_of(model, batch=1, frames=30)
    torch.testing.assert_close(
        loaded.condition(window)[1], model.condition(window)[1], atol=2e-2, rtol=2e-2
    )


def test_weights_that_do_not_fit_are_refused() -> None:
    config = tiny_generator().config.to_dict()
    with pytest.raises(RuntimeError, match="size mismatch"):
        load_generator(config, tiny_generator(codebook_size=17).state_dict())


@pytest.mark.parametrize(
    "changes",
    [
        {"styles": ()},
        {"styles": ("a", "a")},
        {"overlap": 50},
        {"controls": ("tempo",)},
        {"controls": ("fills", "fills")},
    ],
)
def test_a_config_that_makes_no_sense_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"styles|overlap|control"):
        tiny_config(**changes)


def test_weights_from_before_there_were_controls_still_load() -> None:
    old = tiny_generator(controls=())
    config = {k: v for k, v in old.config.to_dict().items() if k != "controls"}
    loaded = load_generator(config, old.state_dict())
    assert loaded.config.controls == ()
    assert loaded.config.prefix_length == 1 + loaded.config.chroma_positions
    window = window_of(loaded, batch=2, frames=30)
    assert torch.equal(loaded.condition(window)[0], old.condition(window)[0])


def test_how_it_is_sampled_is_the_checkpoints_own_and_has_a_default() -> None:
    own = tiny_config(sampling=Sampling(guidance_context=2.5, temperature=0.5))
    assert GeneratorConfig.from_dict(own.to_dict()) == own
    older = {key: value for key, value in own.to_dict().items() if key != "sampling"}
    assert GeneratorConfig.from_dict(older).sampling == Sampling()


def test_what_is_told_throughout_is_heard_at_every_frame() -> None:
    model = tiny_generator(told_throughout=True)
    assert model.playing is not None
    window = window_of(model, batch=1, frames=30)
    louder = replace(window, controls=torch.tensor([[2, 1, 0]]))
    # It begins at zero: weights that were trained without it play as they did.
    assert torch.equal(model.condition(window)[1], model.condition(louder)[1])
    torch.nn.init.normal_(model.playing.weight)
    moved = model.condition(louder)[1] - model.condition(window)[1]
    torch.testing.assert_close(moved, moved[:, :1].expand_as(moved), atol=1e-4, rtol=1e-4)
    assert float(moved.abs().max()) > 0.1


def test_every_control_has_its_own_position_and_its_own_words() -> None:
    model = tiny_generator()
    window = window_of(model, batch=1, frames=30)
    told = model.condition(window)[0]
    assert told.shape[1] == model.config.prefix_length == 1 + 3 + model.config.chroma_positions
    for index in range(3):
        rows = window.controls.clone()
        rows[:, index] = model.config.untold[index]
        changed = model.condition(replace(window, controls=rows))[0]
        differs = (changed != told).any(dim=-1)[0].nonzero().flatten().tolist()
        assert differs == [1 + index]


@pytest.mark.parametrize(
    ("name", "value", "row"),
    [
        ("density", "sparse", 0), ("density", "busy", 2), ("density", None, 3),
        ("fills", False, 0), ("fills", True, 1), ("swing", None, 2),
    ],
)  # fmt: skip
def test_a_control_has_a_row_for_every_value(
    name: str, value: ControlValue | None, row: int
) -> None:
    assert row_of(name, value) == row


@pytest.mark.parametrize(
    ("name", "value"), [("density", "loud"), ("density", True), ("fills", 1), ("tempo", "fast")]
)
def test_what_is_no_value_of_a_control_is_named(name: str, value: Any) -> None:
    with pytest.raises(UnknownControl, match=name):
        row_of(name, value)


def test_unknown_config_keys_are_refused() -> None:
    with pytest.raises(TypeError):
        GeneratorConfig.from_dict({**tiny_config().to_dict(), "extra": 1})


def test_rows_that_hear_the_same_are_heard_once_and_get_what_they_would_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_generator(context=ContextConfig(width=24, blocks=1, heads=2, roots=True))
    one = window_of(model, batch=1, frames=30)
    fields = {
        name: getattr(one, name).expand(6, *getattr(one, name).shape[1:]).clone()
        for name in Window.__dataclass_fields__
    }
    window = Window(**fields)
    window.present[:2] = 0.0
    window.style[2:4] = len(model.config.styles)
    window.kept_mask[:] = False
    window.kept_mask[5, 4:9] = True
    # What is not kept is not heard.
    window.kept_codes[1] = (window.kept_codes[1] + 1) % model.config.codebook_size
    heard: list[int] = []
    encode = model.context.forward
    monkeypatch.setattr(
        model.context, "forward", lambda *told: heard.append(len(told[0])) or encode(*told)
    )
    together = model.condition(window)
    assert heard == [3]
    for row in range(6):
        alone = model.condition(Window(**{n: getattr(window, n)[row : row + 1] for n in fields}))
        for whole, own in zip(together, alone, strict=True):
            torch.testing.assert_close(whole[row : row + 1], own)
    window.features[3, 0, 0] += 1.0
    model.condition(window)
    assert heard[-1] == 6
