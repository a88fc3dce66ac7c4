"""The one interface behind which every stem codec stands."""

import math
from abc import abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CodecError(ValueError):
    """A codec was given audio, codes or a checkpoint that it cannot use."""


class Codec(nn.Module):
    """Turns a mono stem into a short table of integers and back.

    The frame rate divides the sample rate, so frame `f` always stands for the samples
    `f * hop` up to `(f + 1) * hop`, `hop = sample_rate / frame_rate`: codes and audio never drift
    apart. Codebooks are ordered from coarse to fine, and `decode` takes any leading number of them.

    It computes where its weights are; what it is given may lie elsewhere, and what it answers lies
    where that lay.

    Rows of a batch are worked on one by one: no row's result depends on what shared its batch, and
    memory is bounded by the longest.

    Attributes:
        sample_rate: of the waveforms, in Hz.
        frame_rate: code columns per second, in Hz.
        codebooks: rows of codes, K.
        codebook_size: codes run from 0 to this number less one, in every codebook.
        encoding: names of the modules and buffers that decide what `encode` answers; the others
            serve `decode` alone.
        margin: frames to either side that the sound of a frame may depend on.
        remembers: whether the sound of a frame depends on all frames before it too.
    """

    sample_rate: int
    frame_rate: float
    codebooks: int
    codebook_size: int
    encoding: ClassVar[tuple[str, ...]]
    margin: ClassVar[int]
    remembers: ClassVar[bool] = False

    def is_encoding(self, name: str) -> bool:
        """Whether a parameter or buffer, by its name in the state dict, takes part in `encode`."""
        return name.partition(".")[0] in self.encoding

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        tensors = (*self.parameters(), *self.buffers())
        return tensors[0].device if tensors else torch.device("cpu")

    @property
    def hop(self) -> int:
        """Samples per frame."""
        return round(self.sample_rate / self.frame_rate)

    @abstractmethod
    def config(self) -> dict[str, object]:
        """What `load_codec` needs, with the state dict, to build this codec again (JSON types)."""

    @abstractmethod
    def _encode(self, waveform: Tensor) -> Tensor:
        """[1, 1, F * hop] float32 to [1, K, F] int64."""

    @abstractmethod
    def _decode(self, codes: Tensor) -> Tensor:
        """[1, k, F] int64 to [1, 1, F * hop] float32, 1 <= k <= K."""

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        """Encode mono audio.

        Args:
            waveform: float32 [B, 1, T] at `sample_rate`, full scale ±1. The last frame is
                filled up with silence.

        Returns:
            int64 [B, K, F] with F = ceil(T / hop).

        Raises:
            CodecError: the shape is not [B, 1, T] with T > 0, or a sample is not finite.
        """
        if waveform.ndim != 3 or waveform.shape[1] != 1 or waveform.shape[2] == 0:
            raise CodecError(f"expected audio of shape [B, 1, T], got {list(waveform.shape)}")
        if not torch.isfinite(waveform).all():
            raise CodecError("the audio holds samples that are not finite")
        frames = math.ceil(waveform.shape[2] / self.hop)
        whole = F.pad(waveform, (0, frames * self.hop - waveform.shape[2])).to(self.device)
        return torch.cat([self._encode(row[None]) for row in whole]).to(waveform.device)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes into audio; the same codes always give the same samples on one device.

        Args:
            codes: int64 [B, k, F] with 1 <= k <= K: fewer codebooks give a coarser sound.

        Returns:
            float32 [B, 1, F * hop] at `sample_rate`.

        Raises:
            CodecError: wrong shape, or a code outside its codebook.
        """
        if codes.ndim != 3 or not 1 <= codes.shape[1] <= self.codebooks or codes.shape[2] == 0:
            raise CodecError(
                f"expected codes of shape [B, 1..{self.codebooks}, F], got {list(codes.shape)}"
            )
        if int(codes.min()) < 0 or int(codes.max()) >= self.codebook_size:
            raise CodecError(f"codes must lie in 0..{self.codebook_size - 1}")
        there = codes.to(self.device)
        return torch.cat([self._decode(row[None]) for row in there]).to(codes.device)

    def decode_span(self, codes: Tensor, first: int, end: int) -> Tensor:
        """The sound of some frames, as the whole decode has it.

        Args:
            codes: int64 [B, k, F], the frames that are known; the last `margin` of them sound as
                they will only once more are known.
            first, end: frames of it, 0 <= first < end <= F.

        Returns:
            float32 [B, 1, (end - first) * hop].

        Raises:
            CodecError: as `decode`, or the span lies outside.
        """
        if not 0 <= first < end <= codes.shape[2]:
            raise CodecError(f"frames {first}..{end} do not lie in 0..{codes.shape[2]}")
        begin = 0 if self.remembers else max(0, first - self.margin)
        made = self.decode(codes[:, :, begin : min(codes.shape[2], end + self.margin)])
        return made[:, :, (first - begin) * self.hop : (end - begin) * self.hop]
