"""Training of the stem codecs: what is left out, what resumes, what stops."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

from workers.regeneration.codecs import (
    BassCodec,
    Codec,
    DrumCodec,
    DrumCodecConfig,
    code_digest,
)
from workers.regeneration.codecs.quantiser import dequantise, quantise
from workers.training.__main__ import main as training
from workers.training.codecs import main
from workers.training.codecs.adversarial import Adversary
from workers.training.codecs.bass import UNKNOWN, pitch_labels, transposed
from workers.training.codecs.checkpoint import export, open_exported, write_codes
from workers.training.codecs.command import recipe_for
from workers.training.codecs.drums import DrumRecipe
from workers.training.codecs.loop import (
    CURVE,
    STATE,
    Recipe,
    StateNotSaved,
    TrainingDiverged,
    described,
    load_state,
    train,
)
from workers.training.codecs.quantised import QuantisedRecipe, adversarial_from, fixed_from
from workers.training.codecs.rvq import Quantiser
from workers.training.codecs.stems import Batch, Crops, NoUsableStems, Stem, gather

RATE = 44_100


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _piece(folder: Path, audio: np.ndarray) -> None:
    folder.mkdir(parents=True)
    for part in ("drums", "bass"):
        soundfile.write(folder / f"{part}.flac", np.stack([audio, audio]).T, RATE, "PCM_16")
    note = {"start": 0.5, "duration": 1.0, "pitch": 40, "velocity": 90, "program": 33}
    (folder / "piece.json").write_text(json.dumps({"notes": {"bass": [note], "drums": []}}))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three sound pieces per split, and in train one truncated, one silent, one undescribed."""
    rng = np.random.default_rng(0)
    t = np.arange(2 * RATE) / RATE
    root = tmp_path / "corpus"
    for split in ("train", "valid", "test"):
        for number in range(3):
            beat = np.exp(-((t * 4) % 1) * 12)
            audio = 0.3 * beat * (rng.uniform(-1, 1, len(t)) + np.sin(2 * np.pi * 82.4 * t))
            _piece(root / split / f"{number:06d}", audio)
    _piece(root / "train" / "000010", np.zeros(len(t)))
    _piece(root / "train" / "000011", audio)
    for part in ("drums", "bass"):
        flac = root / "train" / "000011" / f"{part}.flac"
        flac.write_bytes(flac.read_bytes()[:40])
    _piece(root / "train" / "000012", audio)
    (root / "train" / "000012" / "piece.json").write_text('{"notes": ')
    return root


def test_stems_that_cannot_be_used_are_left_out_and_named(
    corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = gather(corpus, "train", "drums", 32_000, tmp_path / "cache")
    assert [stem.name for stem in found.usable] == ["000000", "000001", "000002"]
    assert found.skipped.keys() == {"000010", "000011", "000012"}
    assert found.skipped["000010"] == "silent"
    assert found.skipped["000011"].startswith("unreadable")
    for name in found.skipped:
        assert any(name in record.getMessage() for record in caplog.records)
    assert len(found.usable[0].samples) == 64_000


def test_a_split_with_nothing_usable_is_an_error(tmp_path: Path) -> None:
    _piece(tmp_path / "corpus" / "train" / "000001", np.zeros(RATE))
    with pytest.raises(NoUsableStems):
        gather(tmp_path / "corpus", "train", "drums", 32_000, tmp_path / "cache")


def test_crops_depend_on_seed_and_step_alone(corpus: Path, tmp_path: Path) -> None:
    stems = gather(corpus, "train", "drums", 32_000, tmp_path / "cache").usable
    one, two = Crops(stems, 640, 25, 3), Crops(stems, 640, 25, 3)
    two.batch(1, 0)
    assert torch.equal(one.batch(1, 7).audio, two.batch(1, 7).audio)
    assert not torch.equal(one.batch(1, 7).audio, one.batch(2, 7).audio)
    assert one.batch(1, 7).audio.shape == (3, 1, 16_000)
    with pytest.raises(NoUsableStems, match="shorter"):
        Crops(stems, 640, 500, 3)


def test_a_stem_shorter_than_a_crop_is_left_out_and_named(
    corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stems = gather(corpus, "train", "drums", 32_000, tmp_path / "cache").usable
    short = Stem("too-short", stems[0].samples[:640], stems[0].meta)
    crops = Crops([short, *stems], 640, 25, 3)
    assert [stem.name for stem in crops.stems] == [stem.name for stem in stems]
    assert any("too-short" in record.getMessage() for record in caplog.records)


def test_a_piece_rendered_again_is_read_again(corpus: Path, tmp_path: Path) -> None:
    first = gather(corpus, "test", "drums", 32_000, tmp_path / "cache").usable[0]
    louder = np.full((RATE, 2), 0.25)
    soundfile.write(corpus / "test" / first.name / "drums.flac", louder, RATE, "PCM_16")
    described = corpus / "test" / first.name / "piece.json"
    later = time.time() + 60
    os.utime(described, (later, later))
    again = gather(corpus, "test", "drums", 32_000, tmp_path / "cache").usable[0]
    assert len(again.samples) == 32_000 != len(first.samples)


def test_corpora_side_by_side_share_no_stems(corpus: Path, tmp_path: Path) -> None:
    other = corpus.with_name("other")
    (other / "test").mkdir(parents=True)
    _piece(other / "test" / "000000", np.full(RATE, 0.25))
    one, two = (
        gather(folder, "test", "drums", 32_000, tmp_path / "cache").usable[0]
        for folder in (corpus, other)
    )
    assert one.name == two.name
    assert len(one.samples) != len(two.samples)


def test_pitch_labels_follow_the_notes() -> None:
    codec = BassCodec()
    t = np.arange(2 * 16_000) / 16_000
    loud = ((t > 0.5) & (t < 1.7)) * 0.5 * np.sin(2 * np.pi * 82.4 * t)
    note = {"start": 0.5, "duration": 1.0, "pitch": 40}
    stem = Stem("x", (loud * 32767).astype(np.int16), {"notes": {"bass": [note]}})
    labels = pitch_labels(codec, stem)
    assert set(labels[:25]) == {0}
    assert set(labels[25:75]) == {2 * (40 - 24) + 1}
    assert set(labels[76:84]) == {UNKNOWN}  # the tail sounds, but no note says what
    assert set(labels[86:]) == {0}


def test_transposing_moves_sound_and_labels_together() -> None:
    codec = BassCodec()
    t = torch.arange(4 * 16_000) / 16_000
    for seed in range(6):
        torch.manual_seed(seed)
        audio, labels = transposed(
            torch.sin(2 * torch.pi * 110.0 * t)[None, None],
            torch.full((1, 200), int(codec.grid.code(torch.tensor(45.0)))),
            codec,
        )
        assert audio.shape[2] == labels.shape[1] * codec.hop
        size = 1 << 17
        peak = torch.fft.rfft(audio[0, 0], size).abs().argmax() * 16_000 / size
        expected = float(codec.grid.frequency(labels[0, 0]))
        assert abs(12 * np.log2(float(peak) / expected)) < 0.25


class _Line(Recipe):
    """A recipe of one number, to test the loop alone."""

    learning_rate = 0.01

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4))

    def prepare(self, step: int, steps: int, draw: Callable[[int], Batch]) -> None:
        """Nothing to prepare."""

    def learn(self, batch: Batch, step: int, steps: int) -> dict[str, Tensor]:
        # torch's generator takes part, as it does in a real recipe.
        loss = (self.weight - batch.audio.mean() - torch.randn(4)).pow(2).mean()
        loss.backward()
        return {"line": loss.detach()}

    def codec(self) -> Codec:
        return DrumCodec()


def _noise(seed: int, step: int) -> Batch:
    rng = np.random.default_rng([seed, step])
    return Batch(torch.from_numpy(rng.normal(size=(1, 1, 8)).astype(np.float32)))


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    def poisoned(seed: int, step: int) -> Batch:
        return _noise(seed, step) if step != 7 else Batch(torch.full((1, 1, 8), torch.nan))

    train(_Line(), poisoned, 20, 1, tmp_path, stop_after=5)
    kept = (tmp_path / STATE).read_bytes()
    with pytest.raises(TrainingDiverged, match=r"step 7.*last good state"):
        train(_Line(), poisoned, 20, 1, tmp_path)
    assert (tmp_path / STATE).read_bytes() == kept
    recipe = _Line()
    assert load_state(tmp_path / STATE, recipe)["step"] == 5
    assert torch.isfinite(recipe.weight).all()


def test_an_interrupted_run_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, parts = _Line(), _Line()
    train(whole, _noise, 12, 3, tmp_path / "whole")
    for stop in (4, 5, None):
        parts = _Line()
        train(parts, _noise, 12, 3, tmp_path / "parts", stop_after=stop)
    assert torch.equal(whole.weight, parts.weight)
    assert described(tmp_path / "parts" / STATE)["step"] == 12


def test_a_state_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    train(_Line(), _noise, 20, 1, tmp_path, stop_after=5)
    kept = (tmp_path / STATE).read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # As good as a full disk: no file may grow past this.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(StateNotSaved, match=r"step 20.*disk.*stays") as raised:
            train(_Line(), _noise, 20, 1, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert raised.value.filename == str(tmp_path / STATE)
    assert (tmp_path / STATE).read_bytes() == kept
    assert [path.name for path in tmp_path.iterdir()] == [STATE]
    train(_Line(), _noise, 20, 1, tmp_path)
    assert described(tmp_path / STATE)["step"] == 20


def test_the_curve_has_one_line_for_each_report(tmp_path: Path) -> None:
    train(_Line(), _noise, 120, 1, tmp_path, stop_after=110)
    with (tmp_path / CURVE).open("a") as file:
        file.write('{"step": 150, "line": 1}\n{"st')  # the run was killed while it wrote
    train(_Line(), _noise, 160, 1, tmp_path, stop_after=160)
    rows = [json.loads(line) for line in (tmp_path / CURVE).read_text().splitlines()]
    assert [row["step"] for row in rows] == [50, 100, 150]
    assert all(row["line"] > 0 and row["cpu_seconds"] >= 0 for row in rows)


def _tiny() -> DrumRecipe:
    torch.manual_seed(0)
    return DrumRecipe(
        DrumCodecConfig(
            codebooks=2,
            codebook_size=16,
            latent=8,
            read_channels=16,
            encoder_channels=16,
            encoder_blocks=1,
            decoder_channels=16,
            decoder_blocks=1,
            write_channels=16,
            write_blocks=1,
            low_bins=40,
        )
    )


def _loud(seed: int, step: int) -> Batch:
    rng = np.random.default_rng([seed, step])
    return Batch(torch.from_numpy(rng.normal(size=(2, 1, 16_000)).astype(np.float32) * 0.1))


def _moved(before: QuantisedRecipe, after: QuantisedRecipe) -> set[str]:
    """Which of encoder, codebooks, decoder and discriminator differ, as exported or as learned."""
    found = set()
    one, two = before.codec().half().state_dict(), after.codec().half().state_dict()
    for name, value in one.items():
        if not torch.equal(value, two[name]):
            kind = "encoder" if before.model.is_encoding(name) else "decoder"
            found.add("codebooks" if name == "tables" else kind)
    judges = (recipe.adversary.discriminator.state_dict() for recipe in (before, after))
    if any(not torch.equal(a, b) for a, b in zip(*(j.values() for j in judges), strict=True)):
        found.add("discriminator")
    return found


def test_codes_are_fixed_half_way_and_the_last_third_has_a_discriminator(tmp_path: Path) -> None:
    assert fixed_from(12) == 6
    assert adversarial_from(12) == 8
    snapshots = {0: _tiny()}
    for stop in (5, 6, 8, 9, 12):
        snapshots[stop] = _tiny()
        train(snapshots[stop], _loud, 12, 1, tmp_path, stop_after=stop)
    learned = {"encoder", "codebooks", "decoder"}
    assert _moved(snapshots[0], snapshots[5]) == learned
    assert _moved(snapshots[5], snapshots[6]) == learned
    assert _moved(snapshots[6], snapshots[8]) == {"decoder"}
    assert _moved(snapshots[8], snapshots[9]) == {"decoder", "discriminator"}
    assert _moved(snapshots[9], snapshots[12]) == {"decoder", "discriminator"}
    digests = {stop: code_digest(taken.codec()) for stop, taken in snapshots.items()}
    assert len({digests[stop] for stop in (6, 8, 9, 12)}) == 1
    assert digests[5] != digests[6]
    sound = torch.from_numpy(np.random.default_rng(1).normal(size=(1, 1, 9_600))).float() * 0.1
    early, late = snapshots[6].codec(), snapshots[12].codec()
    assert not torch.equal(
        early.decode(codes := torch.randint(0, 16, (1, 2, 9))), late.decode(codes)
    )
    export(early, tmp_path / "early", {})
    export(late, tmp_path / "late", {})
    both = [open_exported(tmp_path / name).encode(sound) for name in ("early", "late")]
    assert torch.equal(both[0], both[1])


def test_the_decoder_learns_from_the_codes_that_are_served(tmp_path: Path) -> None:
    recipe = _tiny()
    train(recipe, _loud, 12, 1, tmp_path, stop_after=9)
    export(recipe.codec(), tmp_path / "exported", {})
    served = open_exported(tmp_path / "exported")
    batch = _loud(5, 5)
    with torch.no_grad():
        recipe.prepare(9, 12, lambda index: batch)
        learned_from = recipe.resynthesis(batch, 9, 12).made
        again = recipe.model.synthesise(
            dequantise(served.encode(batch.audio), served.get_buffer("tables"))
        )
    # The network runs in bfloat16 in training.
    assert torch.allclose(learned_from, again, atol=0.02 * float(again.abs().max()))


def test_the_gradient_does_not_depend_on_the_terms_scales() -> None:
    rng = np.random.default_rng(2)
    real, made = (torch.from_numpy(rng.normal(size=(2, 1, 8_000))).float() * 0.1 for _ in range(2))
    gradients = []
    for scale in (1.0, 1000.0):
        torch.manual_seed(0)
        adversary = Adversary({"near": 1.0, "quiet": 3.0})
        for _ in range(3):
            leaf = made.clone().requires_grad_()
            terms = {"near": scale * (leaf - real).abs().mean(), "quiet": leaf.pow(2).mean()}
            figures = adversary.backward(terms, leaf, real, amp=False)
        assert figures.keys() >= {"near", "quiet", "adversarial", "features", "discriminator"}
        assert leaf.grad is not None
        gradients.append(leaf.grad)
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-3, atol=1e-6)
    assert float(gradients[0].norm()) > 0.1  # shares add up to a gradient of norm 1


def test_a_discriminator_that_breaks_stops_the_run_and_keeps_the_state(tmp_path: Path) -> None:
    recipe = _tiny()
    train(recipe, _loud, 12, 1, tmp_path, stop_after=10)
    kept = (tmp_path / STATE).read_bytes()

    class Breaking(DrumRecipe):
        def prepare(self, step: int, steps: int, draw: Callable[[int], Batch]) -> None:
            super().prepare(step, steps, draw)
            if step == 11:
                next(self.adversary.discriminator.parameters()).fill_(torch.inf)

    broken = Breaking(recipe.model.sizes)
    with pytest.raises(TrainingDiverged, match=r"step 11.*discriminator.*last good state"):
        train(broken, _loud, 12, 1, tmp_path, save_seconds=1e9)
    assert (tmp_path / STATE).read_bytes() == kept
    train(recipe, _loud, 12, 1, tmp_path)
    assert described(tmp_path / STATE)["step"] == 12


@pytest.mark.parametrize("kill_at", [4, 8], ids=["quantised", "adversarial"])
@pytest.mark.parametrize("part", ["drums", "bass"])
def test_a_killed_run_goes_on_to_the_same_weights(corpus: Path, part: str, kill_at: int) -> None:
    # Of 12 steps the first runs without quantisation, and the last 4 against a discriminator.
    arguments = ["codec", "--part", part, "--corpus", str(corpus), "--steps", "12"]
    arguments += ["--batch", "2", "--frames", "25", "--seed", "3", "--save-seconds", "0"]
    killed, whole = corpus.parent / "killed", corpus.parent / "whole"
    process = subprocess.Popen(
        [sys.executable, "-m", "workers.training", *arguments, "--state", str(killed)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        if (killed / STATE).exists() and int(str(described(killed / STATE)["step"])) >= kill_at:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert kill_at <= int(str(described(killed / STATE)["step"])) < 12
    assert training([*arguments, "--state", str(killed)]) == 0
    assert training([*arguments, "--state", str(whole)]) == 0
    one, two = (recipe_for(part)[0] for _ in range(2))
    assert load_state(killed / STATE, one)["step"] == load_state(whole / STATE, two)["step"] == 12
    for (name, a), (_, b) in zip(one.state_dict().items(), two.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    other_seed = [*arguments, "--state", str(whole), "--seed", "4"]
    with pytest.raises(SystemExit, match="another run"):
        training(other_seed)


def test_served_lookup_equals_audiocraft() -> None:
    torch.manual_seed(0)
    quantiser = Quantiser(8, 3, 32)
    quantiser.train()
    quantiser.start(torch.randn(4, 200, 8))
    quantiser(torch.randn(4, 50, 8))
    quantiser.eval()
    latent = torch.randn(2, 40, 8)
    codes = quantise(latent, quantiser.tables())
    assert torch.equal(codes, quantiser.rvq.encode(latent.transpose(1, 2)))
    decoded = dequantise(codes, quantiser.tables())
    assert torch.allclose(decoded, quantiser.rvq.decode(codes).transpose(1, 2), atol=1e-5)


def test_codebooks_stay_where_k_means_put_them() -> None:
    torch.manual_seed(0)
    quantiser = Quantiser(4, 2, 16)
    quantiser.train()
    # Ten places for sixteen codes, so that some codes stand for nothing.
    places = torch.randn(10, 4)
    latent = places[torch.randint(0, 10, (1, 600))]
    quantiser.start(latent)
    before = quantiser.tables()
    quantiser(latent)
    assert torch.allclose(quantiser.tables(), before, atol=0.05)
    assert torch.allclose(quantiser(latent)[0], latent, atol=0.05)


def test_dead_codes_come_back_and_stay() -> None:
    torch.manual_seed(0)
    quantiser = Quantiser(4, 1, 16)
    quantiser.train()
    quantiser.start(torch.randn(1, 16, 4) * 0.01)
    far = torch.randn(1, 400, 4) + 5
    for _ in range(400):
        quantiser(far)
    used = len(quantise(far, quantiser.tables()).unique())
    assert quantiser.restart_dead(far) > 0
    quantiser(far)
    assert len(quantise(far, quantiser.tables()).unique()) > used


def test_exported_codec_writes_codes_once(corpus: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = DrumCodec().eval()
    made.tables.normal_()
    export(made, tmp_path / "checkpoint", {"steps": 0})
    stems = gather(corpus, "test", "drums", 32_000, tmp_path / "cache").usable
    assert write_codes(tmp_path / "codes", tmp_path / "checkpoint", stems) == 3
    assert write_codes(tmp_path / "codes", tmp_path / "checkpoint", stems) == 0
    with np.load(tmp_path / "codes" / "000000.npz") as file:
        codes = file["codes"]
    assert codes.dtype == np.int16
    assert codes.shape == (2, 100)
    codec = open_exported(tmp_path / "checkpoint")
    again = codec.encode(torch.from_numpy(stems[0].audio())[None, None])[0]
    assert np.array_equal(codes, again.numpy())
    made.tables.normal_()
    export(made, tmp_path / "checkpoint", {"steps": 0})
    assert write_codes(tmp_path / "codes", tmp_path / "checkpoint", stems) == 3


def test_codes_need_an_exported_codec(corpus: Path) -> None:
    with pytest.raises(SystemExit, match="--export"):
        main(["--part", "drums", "--corpus", str(corpus), "--steps", "0", "--codes", "x"])


def test_training_command_names_its_subcommands(capsys: pytest.CaptureFixture[str]) -> None:
    assert training([]) == 2
    assert training(["kazoo"]) == 2
    assert training(["--help"]) == 0
    printed = capsys.readouterr().out
    for name in ("data", "separator", "codec", "generator"):
        assert name in printed


def test_audiocraft_imports_where_torchaudio_cannot_load() -> None:
    code = (
        "from workers.regeneration.torchaudio_stub import make_torchaudio_importable as prepare\n"
        "prepare()\nprepare()\n"
        "import torch\nfrom torchaudio.transforms import MelSpectrogram\n"
        "assert MelSpectrogram(16000)(torch.zeros(1, 16000)).shape == (1, 128, 81)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
