"""How the bass codec is trained."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workers.regeneration.codecs import BassCodec, BassCodecConfig
from workers.regeneration.codecs.quantiser import dequantise, quantise

from .losses import mel_losses
from .quantised import QuantisedRecipe, Resynthesis, fixed_from
from .rvq import Quantiser
from .stems import Batch, Stem

UNKNOWN = -1
"""Label of a frame whose pitch the composition does not tell: the tail of a note."""

QUIET = 10 ** (-60 / 20)
"""Root mean square under which a frame has no pitch."""

SCALES = ((2048, 96), (512, 48), (128, 12))
WEIGHTS = {"mel 2048": 1.0, "mel 512": 1.0, "mel 128": 1.0}


def pitch_labels(codec: BassCodec, stem: Stem) -> np.ndarray:
    """Pitch codes of a stem's frames, from the notes it was rendered from: int64 [F]."""
    hop, rate = codec.hop, codec.frame_rate
    frames = len(stem.samples) // hop
    labels = np.full(frames, UNKNOWN, np.int64)
    for note in sorted(stem.meta["notes"]["bass"], key=lambda n: float(n["start"])):
        first = int(np.ceil(float(note["start"]) * rate))
        last = int((float(note["start"]) + float(note["duration"])) * rate)
        code = codec.grid.code(torch.tensor(float(note["pitch"])))
        labels[first : max(last, first + 1)] = int(code)
    audio = stem.audio()[: frames * hop].reshape(frames, hop)
    labels[np.sqrt(np.square(audio).mean(1)) < QUIET] = 0
    return labels


class BassRecipe(QuantisedRecipe):
    """Cross-entropy of the pitch against the notes, mel losses, and the quantiser's penalty."""

    learning_rate = 2e-3
    model: BassCodec

    def __init__(self, sizes: BassCodecConfig = BassCodecConfig(), amp: bool = True) -> None:
        quantiser = Quantiser(sizes.latent, sizes.codebooks - 1, sizes.codebook_size)
        super().__init__(BassCodec(sizes), quantiser, WEIGHTS, WEIGHTS, amp)
        self.mels = nn.ModuleList(mel_losses(sizes.sample_rate, SCALES))

    def blank(self) -> BassCodec:
        """An untrained codec of the same sizes."""
        return BassCodec(self.model.sizes)

    def latent(self, audio: Tensor) -> Tensor:
        """float [B, 1, T] to the latent before quantisation, float [B, F, D]."""
        with torch.autocast(audio.device.type, dtype=torch.bfloat16, enabled=self.amp):
            return self.model.analyse(audio).float()

    def resynthesis(self, batch: Batch, step: int, steps: int) -> Resynthesis:
        """A batch, every third one transposed, through the codec as it stands at this step."""
        if batch.labels is None:
            raise ValueError("the bass codec is trained with pitch labels")
        audio, labels = batch.audio, batch.labels
        if step % 3 == 0:
            audio, labels = transposed(audio, labels, self.model)
        terms: dict[str, Tensor] = {}
        if step >= fixed_from(steps):
            with torch.no_grad():
                timbre = quantise(self.model.analyse(audio), self.model.tables)
                latent = dequantise(timbre, self.model.tables)
                played = self.model.pitch.read(audio[:, 0])
        else:
            latent, terms = self.quantised(self.latent(audio), step, steps)
            logits = self.model.pitch(audio[:, 0])
            if bool((labels != UNKNOWN).any()):
                terms["pitch"] = F.cross_entropy(
                    logits.transpose(1, 2), labels, ignore_index=UNKNOWN, label_smoothing=0.02
                )
            played = torch.where(labels == UNKNOWN, logits.argmax(-1), labels)
        with torch.autocast(audio.device.type, dtype=torch.bfloat16, enabled=self.amp):
            made = self.model.synthesise(played, latent)
        return Resynthesis(audio, made, terms)

    def spectral(self, made: Tensor, audio: Tensor) -> dict[str, Tensor]:
        """The terms that `WEIGHTS` names."""
        return dict(zip(WEIGHTS, (mel(made, audio) for mel in self.mels), strict=True))


def transposed(audio: Tensor, labels: Tensor, codec: BassCodec) -> tuple[Tensor, Tensor]:
    """Resample a batch to another pitch, up to two semitones away, in between semitones too.

    Drawn with torch's generator. Frames that leave the grid become unknown.
    """
    steps = int(torch.randint(-4, 5, ()))
    shift = steps / 2 + float(torch.rand(())) * 0.3 - 0.15
    frames = int(labels.shape[1] / 2 ** (shift / 12))
    speed = 2 ** (shift / 12)
    length = frames * codec.hop
    at = (torch.arange(length) + 0.5) * speed - 0.5
    below = at.floor().long().clamp(0, audio.shape[2] - 2)
    moved = torch.lerp(audio[..., below], audio[..., below + 1], (at - below).clamp(0, 1))
    source = ((torch.arange(frames) + 0.5) * speed).long().clamp(max=labels.shape[1] - 1)
    picked = labels[:, source]
    raised = torch.where(picked > 0, picked + steps, picked)
    outside = (picked > 0) & ((raised < 1) | (raised > codec.sizes.pitches))
    return moved, torch.where(outside, UNKNOWN, raised)
