"""Import: an old checkpoint becomes a bundle that says, word for word, what the original decoder says."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from framecap.captioning.bundle import open_bundle
from framecap.captioning.captioner import BundleCaptioner
from framecap.captioning.load import load_runtime
from framecap.captioning.model.decoder import DecoderState
from framecap.config import CaptioningConfig
from tests.tiny import COLOURS, draw_image
from tests.train.legacy.test_checkpoints import LEGACY, ZIP, save
from tests.train.old_models import DecoderWithAttention, Encoder
from train.__main__ import main
from train.legacy.checkpoints import LegacyCheckpoint, read_legacy_checkpoint
from train.legacy.import_checkpoint import ENCODERS, convert_decoder, convert_encoder, encoder_name, layers

WORDS = ("a", "the", "ball", "box", "is", "there", "on", "floor", *COLOURS)
WORD_MAP = {word: number + 1 for number, word in enumerate(WORDS)}
WORD_MAP |= {"<unk>": len(WORDS) + 1, "<start>": len(WORDS) + 2, "<end>": len(WORDS) + 3, "<pad>": 0}
CASES = [(colour, shape) for colour in ("red", "blue", "white") for shape in ("ball", "box")]
RUNTIMES = ("onnx", "torch")
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])  # the tutorial's, of values 0 to 1


@pytest.fixture(scope="module")
def original(images: np.ndarray) -> dict[str, object]:
    """A small residual network with random weights, and a decoder that has learnt by heart what to say of six images."""
    torch.manual_seed(2)
    encoder = Encoder(torchvision.models.resnet18()).eval()
    decoder = DecoderWithAttention(24, 16, 32, len(WORD_MAP), 512, dropout=0.0)
    features = seen_by(encoder, images)
    output = [
        f"<start> the ball is {colour} <end>" if shape == "ball" else f"<start> a {colour} box is there <end>"
        for colour, shape in CASES
    ]
    captions = torch.tensor([[WORD_MAP[word] for word in [*text.split(), "<pad>"][:7]] for text in output])
    optimizer = torch.optim.Adam(decoder.parameters(), lr=0.006)
    for _ in range(130):
        h, c = decoder.begin(features)
        losses = []
        for step in range(6):
            scores, _, h, c = decoder.step(features, h, c, captions[:, step])
            losses.append(nn.functional.nll_loss(scores, captions[:, step + 1], ignore_index=WORD_MAP["<pad>"]))
        optimizer.zero_grad()
        sum(losses).backward()
        optimizer.step()
    return {"epoch": 11, "encoder": encoder, "decoder": decoder.eval()}


@pytest.fixture(scope="module")
def word_map(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words") / "WORDMAP_coco.json"
    path.write_text(json.dumps(WORD_MAP))
    return path


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """(6, 256, 256, 3) RGB."""
    return np.stack([cv2.resize(draw_image(*case, seed), (256, 256)) for seed, case in enumerate(CASES)])


def seen_by(encoder: Encoder, images: np.ndarray) -> Tensor:
    """What the tutorial's caption.py and train.py make of images: (n, 196, features)."""
    normal = (torch.from_numpy(images).float() / 255 - MEAN) / STD
    with torch.no_grad():
        out = encoder(normal.permute(0, 3, 1, 2))
    return out.flatten(1, 2)


def greedy(decoder: DecoderWithAttention, features: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """The words of the original, one at a time, with the log-probabilities and the attention of each step."""
    h, c = decoder.begin(features)
    words = torch.full((len(features),), WORD_MAP["<start>"])
    chosen, scores, maps = [], [], []
    for _ in range(steps):
        log_probabilities, alpha, h, c = decoder.step(features, h, c, words)
        words = log_probabilities.argmax(dim=1)
        chosen.append(words)
        scores.append(log_probabilities)
        maps.append(alpha)
    return torch.stack(chosen, 1), torch.stack(scores, 1), torch.stack(maps, 1)


@pytest.mark.parametrize("zipped", [ZIP, LEGACY])
def test_step_for_step_the_decoder_is_the_original(
    original: dict[str, object], images: np.ndarray, tmp_path: Path, zipped: bool
) -> None:
    old = read_legacy_checkpoint(save(original, tmp_path / "checkpoint.pth.tar", zipped))
    encoder, decoder = convert_encoder(old, bgr=False), convert_decoder(old)
    assert (encoder.name, encoder.size, encoder.grid) == ("resnet18", 256, (14, 14))
    features = seen_by(original["encoder"], images)
    with torch.no_grad():
        words, scores, maps = greedy(original["decoder"], features, 12)
        ours = encoder(torch.from_numpy(images))
        torch.testing.assert_close(ours, features, atol=1e-4, rtol=1e-4)
        memory, state = decoder.begin(ours)
        output = torch.full((len(images), 1), WORD_MAP["<start>"])
        for step in range(12):
            state, attention = decoder.advance(memory, DecoderState(*state), output)
            log_probabilities = decoder.logits(state.hidden).log_softmax(dim=2)
            torch.testing.assert_close(log_probabilities[:, 0], scores[:, step], atol=1e-3, rtol=1e-3)
            torch.testing.assert_close(attention[:, 0], maps[:, step], atol=1e-4, rtol=1e-3)
            output = log_probabilities.argmax(dim=2)
            assert output[:, 0].tolist() == words[:, step].tolist()
    assert len({tuple(row) for row in words.tolist()}) > 3  # the images are told apart


def beam_search(decoder: DecoderWithAttention, features: Tensor, beam: int, most: int) -> tuple[list[int], float]:
    """A plain beam search with the original's steps: words and total log-probability of the best ended sentence."""
    h, c = decoder.begin(features)
    live: list[tuple[float, list[int], Tensor, Tensor]] = [(0.0, [WORD_MAP["<start>"]], h, c)]
    ended: list[tuple[float, list[int]]] = []
    for step in range(most + 1):
        found = []
        for total, words, h, c in live:
            scores, _, next_h, next_c = decoder.step(features, h, c, torch.tensor(words[-1:]))
            for number, score in enumerate(scores[0].tolist()):
                never = number in (WORD_MAP["<pad>"], WORD_MAP["<start>"], WORD_MAP["<unk>"])
                if not never and not (step == 0 and number == WORD_MAP["<end>"]):
                    found.append((total + score, [*words, number], next_h, next_c))
        found.sort(key=lambda entry: -entry[0])
        ended += [(total, words) for total, words, *_ in found[:beam] if words[-1] == WORD_MAP["<end>"]]
        live = [entry for entry in found if entry[1][-1] != WORD_MAP["<end>"]][:beam]
        if len(ended) >= beam:
            break
    total, words = max(ended[:beam], key=lambda entry: entry[0])
    return words[1:-1], total


@pytest.fixture(scope="module")
def bundle(original: dict[str, object], word_map: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("import")
    checkpoint = save(original, folder / "BEST_checkpoint_coco.pth.tar", LEGACY)
    assert main(["import", str(checkpoint), "--wordmap", str(word_map), "--out", str(folder / "old"), "--name", "old"]) == 0
    return folder / "old"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_bundle_says_what_the_original_says(
    original: dict[str, object], bundle: Path, images: np.ndarray, runtime: str
) -> None:
    """Beam search with the original's own steps gives the same captions; the bundle's weights are rounded to 16 bits."""
    opened = open_bundle(str(bundle))
    config = CaptioningConfig(runtime=runtime, beam=3, length_penalty=0.0, block_ngrams=0, max_words=40, threads=1)
    captions = BundleCaptioner(opened, load_runtime(opened, config), config).caption(images)
    features = seen_by(original["encoder"], images)
    with torch.no_grad():
        for caption, row in zip(captions, features, strict=True):
            words, total = beam_search(original["decoder"], row[None], 3, 40)
            assert list(caption.words) == opened.vocabulary.decode(words)
            end = np.log(caption.confidence) * (len(words) + 1)
            assert end == pytest.approx(total, abs=0.05)
    assert opened.card.training == {"taken over from": "BEST_checkpoint_coco.pth.tar", "epochs": 12, "channels": "RGB"}
    assert len({caption.words for caption in captions}) > 3


def test_a_model_of_bgr_images_takes_rgb_ones(
    original: dict[str, object], word_map: Path, images: np.ndarray, tmp_path: Path
) -> None:
    checkpoint = save(original, tmp_path / "c.pth.tar", ZIP)
    features = seen_by(original["encoder"], images[..., ::-1].copy())
    ours = convert_encoder(read_legacy_checkpoint(checkpoint), bgr=True)
    with torch.no_grad():
        torch.testing.assert_close(ours(torch.from_numpy(images)), features, atol=1e-4, rtol=1e-4)
    assert main(["import", str(checkpoint), "--wordmap", str(word_map), "--out", str(tmp_path / "b"), "--bgr"]) == 0
    bundle = open_bundle(str(tmp_path / "b"))
    onnx, pytorch = (load_runtime(bundle, CaptioningConfig(runtime=name, threads=1)).encode(images) for name in RUNTIMES)
    for values in (torch.from_numpy(onnx.memory["values"]), pytorch.memory.values):
        torch.testing.assert_close(values, features, atol=0.02, rtol=0.02)  # the bundle's weights are rounded to 16 bits


def test_the_word_map_must_be_the_checkpoints(
    original: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = save(original, tmp_path / "c.pth.tar", ZIP)
    maps = {
        json.dumps(
            {**WORD_MAP, "zebra": len(WORD_MAP)}
        ): "has 17 words, the checkpoint's decoder 16: it is another data set's",
        json.dumps({"a": 0}): "the special tokens <pad>, <start>, <end>, <unk> are missing",
        "[": "not JSON",
    }
    for text, output in maps.items():
        (tmp_path / "WORDMAP.json").write_text(text)
        arguments = ["--wordmap", str(tmp_path / "WORDMAP.json"), "--out", str(tmp_path / "b")]
        assert main(["import", str(checkpoint), *arguments]) == 2
        assert output in capsys.readouterr().err
    assert main(["import", str(checkpoint), "--wordmap", str(tmp_path / "no.json"), "--out", str(tmp_path / "b")]) == 2
    assert "name the WORDMAP_*.json with --wordmap" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_the_seeds_and_the_tutorials_encoders_are_reported_apart_by_their_shapes() -> None:
    shapes = {
        name: frozenset((key, tuple(value.shape)) for key, value in layers(name).state_dict().items()) for name in ENCODERS
    }
    assert len(set(shapes.values())) == len(ENCODERS)
    for name in ("resnext101_32x8d", "resnet101"):
        assert encoder_name(layers(name).state_dict()) == name


def test_other_architectures_are_reported(original: dict[str, object], tmp_path: Path) -> None:
    old = read_legacy_checkpoint(save(original, tmp_path / "c.pth.tar", ZIP))

    def with_decoder(**changes: Tensor | None) -> LegacyCheckpoint:
        weights = {**old.decoder, **{name.replace("__", "."): value for name, value in changes.items()}}
        return LegacyCheckpoint(old.encoder, {name: value for name, value in weights.items() if value is not None}, 14, 1)

    for changes, output in (
        ({"attention2__weight": torch.ones(2)}, r"'attention2\.weight': not the tutorial's attention decoder"),
        ({"f_beta__weight": None}, r"not the tutorial's: .*gate\.weight"),
        ({"embedding__weight": torch.ones(5)}, "not the tutorial's"),
        ({"embedding__weight": None}, r"not the tutorial's: 'embedding\.weight'"),
    ):
        with pytest.raises(ValueError, match=f"(?s){output}"):
            convert_decoder(with_decoder(**changes))
    with pytest.raises(ValueError, match=r"none of torchvision's resnext101_32x8d, resnet101"):
        convert_encoder(LegacyCheckpoint({"resnet.0.weight": torch.ones(64, 3, 7, 7)}, {}, 14, 1), bgr=False)
    with pytest.raises(ValueError, match="other weights than those of `resnet`"):
        convert_encoder(LegacyCheckpoint({"vgg.0.weight": torch.ones(64, 3, 7, 7)}, {}, 14, 1), bgr=False)
