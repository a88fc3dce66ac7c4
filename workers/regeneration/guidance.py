"""How strongly a generator is told things: what a request may set and a checkpoint recommends."""

from dataclasses import dataclass

BRANCHES = 3
"""The most that guidance needs: nothing, the context, the context and what is told."""


@dataclass(frozen=True)
class Sampling:
    """How codes are drawn.

    ``guidance_context`` (w_c) and ``guidance_style`` (w_t) weigh three branches:
    ``l0 + w_c (l_context - l0) + w_t (l_context_style - l_context)``, a style guidance on top of
    the usual classifier-free one (arXiv 2207.12598). Controls go with the style: what a player is
    told is one branch. ``temperature`` 0 takes the likeliest code; ``top_k`` 0 draws from all;
    ``top_p`` draws from the likeliest that together reach that share (arXiv 1904.09751).

    A checkpoint's own values, chosen on pieces of validation, stand in its ``config.json``; the
    defaults here are for those that say nothing. A higher guidance by the context makes drums
    denser than the original, a lower one follows it less; with less guidance by the style the
    stems that stay, which suggest a style of their own, have their way.
    """

    guidance_context: float = 1.75
    guidance_style: float = 5.0
    temperature: float = 0.85
    top_k: int = 128
    top_p: float = 1.0

    def branches(self, *, told: bool) -> tuple[float, float, float]:
        """Weights of the branches without context, with it, and with style and controls too.

        ``told`` says whether there is a style or a control. What weighs nothing is not computed.
        """
        w_c, w_t = self.guidance_context, self.guidance_style
        return (1.0 - w_c, w_c - w_t, w_t) if told else (1.0 - w_c, w_c, 0.0)
