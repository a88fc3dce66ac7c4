"""How the drum codec is trained."""

import copy

import torch
from torch import Tensor, nn

from workers.regeneration.codecs import DrumCodec, DrumCodecConfig
from workers.regeneration.codecs.layers import spectrum

from .losses import mel_losses
from .quantised import QuantisedRecipe
from .rvq import Quantiser
from .stems import Batch

LOW_BAND = 500.0
"""Hz under which phase is learned too: it is what a kick drum's punch is made of."""


class DrumRecipe(QuantisedRecipe):
    """Mel losses on three scales, complex spectra under 500 Hz, and the quantiser's penalty."""

    learning_rate = 1e-3
    wide: Tensor

    def __init__(self, sizes: DrumCodecConfig = DrumCodecConfig(), amp: bool = True) -> None:
        super().__init__()
        self.model = DrumCodec(sizes)
        self.quantiser = Quantiser(sizes.latent, sizes.codebooks, sizes.codebook_size)
        self.mels = nn.ModuleList(mel_losses(sizes.sample_rate))
        self.register_buffer("wide", torch.hann_window(1024), persistent=False)
        self.low_bins = int(LOW_BAND * 1024 / sizes.sample_rate) + 1
        self.amp = amp

    def latent(self, audio: Tensor) -> Tensor:
        """float [B, 1, T] to the latent before quantisation, float [B, F, D]."""
        with torch.autocast(audio.device.type, dtype=torch.bfloat16, enabled=self.amp):
            return self.model.analyse(audio).float()

    def losses(self, batch: Batch, step: int, steps: int) -> dict[str, Tensor]:
        """The terms of the loss at this step, weighted."""
        audio = batch.audio
        latent, terms = self.quantised(self.latent(audio), step, steps)
        with torch.autocast(audio.device.type, dtype=torch.bfloat16, enabled=self.amp):
            made = self.model.synthesise(latent)
        for name, mel in zip(("mel 2048", "mel 512", "mel 128"), self.mels, strict=True):
            terms[name] = mel(made, audio)
        low_made, low = (
            spectrum(x[:, 0], self.wide, 256)[..., : self.low_bins] for x in (made, audio)
        )
        error = torch.view_as_real(low_made - low).abs().mean()
        terms["low"] = 0.5 * error / (torch.view_as_real(low).abs().mean() + 1e-2)
        return terms

    def codec(self) -> DrumCodec:
        """The codec as served."""
        codec = copy.deepcopy(self.model).eval()
        codec.tables.copy_(self.quantiser.tables())
        return codec
