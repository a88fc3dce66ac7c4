"""Sampling of one window: guidance, draws, and who shares a batch."""

from dataclasses import replace

import pytest
import torch
from generator_fixtures import sample_window, tiny_generator, window_of

from workers.regeneration.delay import delay
from workers.regeneration.guidance import Sampling
from workers.regeneration.model import Window
from workers.regeneration.sampling import draw, guidance_branches


def unkept(window: Window) -> Window:
    return replace(window, kept_mask=torch.zeros_like(window.kept_mask))


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_branches_weigh_as_the_formula_says() -> None:
    model = tiny_generator()
    window = window_of(model, batch=1, frames=20)
    rows, weights = guidance_branches(
        window, model.config, Sampling(guidance_context=2.0, guidance_style=1.5)
    )
    assert weights.tolist() == pytest.approx([-1.0, 0.5, 1.5])
    assert rows.style.tolist() == [2, 2, 0]
    assert rows.controls.tolist() == [[3, 2, 2], [3, 2, 2], [0, 1, 0]]
    assert rows.present.amax(dim=1).tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("w_c", "w_t", "style", "count"),
    [(1.0, 1.0, 0, 1), (1.0, 0.0, 0, 1), (2.0, 2.0, 0, 2), (2.0, 1.5, 2, 2), (0.0, 0.0, 0, 1)],
)
def test_branches_that_weigh_nothing_are_not_computed(
    w_c: float, w_t: float, style: int, count: int
) -> None:
    model = tiny_generator()
    window = window_of(model, batch=1, frames=20)
    window = replace(
        window, style=torch.tensor([style]), controls=torch.tensor([model.config.untold])
    )
    _, weights = guidance_branches(window, model.config, Sampling(w_c, w_t))
    assert len(weights) == count
    assert float(weights.sum()) == pytest.approx(1.0)


def test_a_control_alone_needs_the_branch_of_the_style() -> None:
    model = tiny_generator()
    window = window_of(model, batch=1, frames=20)
    window = replace(window, style=torch.tensor([2]), controls=torch.tensor([[3, 1, 2]]))
    rows, weights = guidance_branches(window, model.config, Sampling(2.0, 1.5))
    assert weights.tolist() == pytest.approx([-1.0, 0.5, 1.5])
    assert rows.controls[:, 1].tolist() == [2, 2, 1]


def test_greedy_sampling_follows_the_guided_full_forward_pass() -> None:
    """Every code drawn is the likeliest under logits computed in one pass without a cache."""
    model = tiny_generator()
    window = window_of(model, batch=2, frames=30)
    sampling = Sampling(guidance_context=2.0, guidance_style=1.5, temperature=0.0)
    codes = sample_window(model, window, sampling, generators(1, 2))
    columns = delay(codes, model.config.padding)
    kept = delay(window.kept_mask[:, None].expand_as(codes).long(), 1).bool()
    untold = torch.tensor(model.config.untold).expand_as(window.controls)
    unstyled = replace(window, style=torch.full_like(window.style, 2), controls=untold)
    nothing = replace(unstyled, present=window.present * 0)
    with torch.no_grad():
        l0, l_c, l_ct = (
            model(columns[:, :, :-1], *model.condition(branch))
            for branch in (nothing, unstyled, window)
        )
    guided = l0 + 2.0 * (l_c - l0) + 1.5 * (l_ct - l_c)
    best = guided.argmax(dim=-1)
    free = ~kept[:, :, 1:]
    assert int(free.sum()) > 50
    assert torch.equal(best[free], columns[:, :, 1:][free])


def test_draws_follow_the_distribution() -> None:
    """With a head that ignores the past, frequencies approach the softmax it states."""
    model = tiny_generator(window=400)
    for head in model.decoder.lm_heads:
        head.weight.zero_()
    frames = 400
    window = unkept(window_of(model, batch=4, frames=frames))
    codes = sample_window(
        model, window, Sampling(1.0, 1.0, temperature=1.0, top_k=0), generators(*range(4))
    )
    counts = torch.bincount(codes.flatten(), minlength=16) / codes.numel()
    assert (counts - 1 / 16).abs().max() < 0.02


def test_draws_among_the_likeliest_follow_their_distribution() -> None:
    """Logits 3, 2, 1, then nothing: of the first two, e / (1 + e) draws are the first."""
    logits = torch.tensor([1.0, 3.0, 2.0, -1.0]).expand(20_000, 1, 4)
    noise = torch.empty(20_000, 1, 2).exponential_(generator=generators(3)[0])
    drawn = draw(logits, noise, Sampling(temperature=1.0, top_k=2))
    counts = torch.bincount(drawn.flatten(), minlength=4) / len(drawn)
    assert counts.tolist() == pytest.approx([0, 0.7311, 0.2689, 0], abs=0.015)


@pytest.mark.parametrize("top_p", [1.0, 0.6])
@pytest.mark.parametrize("steps", [0, 4])
def test_codes_are_those_of_their_ranks_however_many_have_one_score(
    top_p: float, steps: int
) -> None:
    """Whole steps make equal scores as bfloat16 does: the ranks' codes are still topk's."""
    logits = 3.0 * torch.randn(50, 3, 40, generator=generators(1)[0])
    if steps:
        logits = (steps * logits).round() / steps
    noise = torch.empty(50, 3, 12).exponential_(generator=generators(2)[0])
    likeliest, codes = logits.topk(12, dim=-1)
    shares = torch.softmax(likeliest / 0.8, dim=-1)
    shares = shares.where(shares.cumsum(dim=-1) - shares < top_p, 0.0)
    expected = codes.gather(-1, (shares / noise).argmax(dim=-1, keepdim=True))[..., 0]
    sampling = Sampling(temperature=0.8, top_k=12, top_p=top_p)
    assert torch.equal(draw(logits, noise, sampling), expected)
    # Nor does it matter who is drawn for at the same time.
    alone = [draw(*each, sampling) for each in zip(logits.split(1), noise.split(1), strict=True)]
    assert torch.equal(torch.cat(alone), expected)


def test_nothing_is_computed_behind_the_last_frame_that_is_not_kept() -> None:
    model = tiny_generator()
    window = window_of(model, batch=1, frames=30)
    kept = torch.ones(1, 30, dtype=torch.bool)
    kept[:, 10:14] = False
    steps: list[int] = []
    codes = sample_window(
        model, replace(window, kept_mask=kept), Sampling(), generators(1), steps.append
    )
    # Columns of frames 10..13 in three codebooks are six; one more report says that all is done.
    assert len(steps) == 6 + 1
    assert torch.equal(codes[:, :, kept[0]], window.kept_codes[:, :, kept[0]])


def test_top_k_of_one_is_greedy() -> None:
    model = tiny_generator()
    window = window_of(model, batch=1, frames=30)
    greedy = sample_window(model, window, Sampling(temperature=0.0), generators(1))
    narrow = sample_window(model, window, Sampling(top_k=1), generators(2))
    assert torch.equal(greedy, narrow)


def test_a_sequence_does_not_depend_on_who_shares_its_batch() -> None:
    model = tiny_generator()
    pair = unkept(window_of(model, batch=2, frames=30))
    fields = {name: getattr(pair, name)[1:] for name in Window.__dataclass_fields__}
    together = sample_window(model, pair, Sampling(), generators(1, 2))
    alone = sample_window(model, Window(**fields), Sampling(), generators(2))
    assert torch.equal(together[1], alone[0])


def test_everything_kept_needs_no_draw() -> None:
    model = tiny_generator()
    window = window_of(model, batch=1, frames=30)
    window = replace(window, kept_mask=torch.ones_like(window.kept_mask))
    assert torch.equal(sample_window(model, window, Sampling(), generators(1)), window.kept_codes)
