"""How the drum codec is trained."""

import torch
from torch import Tensor, nn

from workers.regeneration.codecs import DrumCodec, DrumCodecConfig
from workers.regeneration.codecs.layers import spectrum
from workers.regeneration.codecs.quantiser import dequantise, quantise

from .losses import mel_losses
from .quantised import QuantisedRecipe, Resynthesis, fixed_from
from .rvq import Quantiser
from .stems import Batch

LOW_BAND = 500.0
"""Hz under which phase is learned too: it is what a kick drum's punch is made of."""

SIZES = DrumCodecConfig(codebooks=4, low_bins=40)
"""What is trained: four codebooks, and a low range up to 1 kHz."""

SCALES = ((1024, 80), (512, 48), (128, 12))
WEIGHTS = {"mel 1024": 1.0, "mel 512": 0.5, "mel 128": 0.5, "low": 0.3}
SHARES = WEIGHTS | {"low": 0.03}


class DrumRecipe(QuantisedRecipe):
    """Mel losses on three scales, complex spectra under 500 Hz, and the quantiser's penalty."""

    learning_rate = 1.5e-3
    model: DrumCodec
    wide: Tensor

    def __init__(self, sizes: DrumCodecConfig = SIZES, amp: bool = True) -> None:
        quantiser = Quantiser(sizes.latent, sizes.codebooks, sizes.codebook_size)
        super().__init__(DrumCodec(sizes), quantiser, WEIGHTS, SHARES, amp)
        self.mels = nn.ModuleList(mel_losses(sizes.sample_rate, SCALES))
        self.register_buffer("wide", torch.hann_window(1024), persistent=False)
        self.low_bins = int(LOW_BAND * 1024 / sizes.sample_rate) + 1

    def blank(self) -> DrumCodec:
        """An untrained codec of the same sizes."""
        return DrumCodec(self.model.sizes)

    def latent(self, audio: Tensor) -> Tensor:
        """float [B, 1, T] to the latent before quantisation, float [B, F, D]."""
        with torch.autocast(audio.device.type, dtype=torch.bfloat16, enabled=self.amp):
            return self.model.analyse(audio).float()

    def resynthesis(self, batch: Batch, step: int, steps: int) -> Resynthesis:
        """A batch through the codec as it stands at this step."""
        terms: dict[str, Tensor] = {}
        if step >= fixed_from(steps):
            with torch.no_grad():
                codes = quantise(self.model.analyse(batch.audio), self.model.tables)
                latent = dequantise(codes, self.model.tables)
        else:
            latent, terms = self.quantised(self.latent(batch.audio), step, steps)
        with torch.autocast(batch.audio.device.type, dtype=torch.bfloat16, enabled=self.amp):
            made = self.model.synthesise(latent)
        return Resynthesis(batch.audio, made, terms)

    def spectral(self, made: Tensor, audio: Tensor) -> dict[str, Tensor]:
        """The terms that `WEIGHTS` names."""
        terms = dict(
            zip(WEIGHTS, (mel(made, audio) for mel in self.mels), strict=False),
        )
        low_made, low = (
            spectrum(x[:, 0], self.wide, 256)[..., : self.low_bins] for x in (made, audio)
        )
        error = torch.view_as_real(low_made - low).abs().mean()
        terms["low"] = error / (torch.view_as_real(low).abs().mean() + 1e-2)
        return terms
