"""Self-critical training: what is sampled, what it is worth, which way the weights go."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from framecap.captioning.model.decoder import AttentionDecoder
from framecap.captioning.vocabulary import END
from framecap.config import ReinforceConfig, TrainConfig
from framecap.scoring.cider import CiderD
from tests.train.synthetic import CONFIG, HERE, plain_model
from train.data.batches import Batch, Epoch, TrainingData
from train.data.dataset import DataFolder
from train.training.fit import fit
from train.training.model import Model
from train.training.reinforce import Reward, Sampled, SelfCritical, reinforce, sample


@pytest.fixture(scope="module")
def trained(folder: DataFolder, material: TrainingData, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model that has learnt a little, and speaks differently from sample to sample."""
    config = CONFIG.model_copy(update={"epochs": 6, "patience": 9, "learning_rate": 0.01})
    return fit(config, material, plain_model(config, folder), tmp_path_factory.mktemp("trained"), HERE)


def settings(**update: object) -> TrainConfig:
    return CONFIG.model_copy(update={"reinforce": ReinforceConfig(**update)})  # type: ignore[arg-type]


def objective_of(model: Model, material: TrainingData, **update: object) -> SelfCritical:
    reward = Reward([[[*words, END] for words in captions] for captions in material.train.split.references], 0.0)
    objective = SelfCritical(model, settings(**update), False, reward, HERE)
    objective.train()
    return objective


def first_batch(material: TrainingData) -> Batch:
    return next(Epoch(material.train, CONFIG, 0, HERE).batches(0, 0, HERE.device))


def features(material: TrainingData) -> torch.Tensor:
    return first_batch(material).seen.float()


@pytest.mark.parametrize("samples", [4, 0])
def test_samples_are_sentences(trained: Model, material: TrainingData, samples: int) -> None:
    torch.manual_seed(1)
    words, lengths = sample(trained.decoder, features(material), trained.vocabulary, samples, 5)
    assert words.shape[:2] == lengths.shape == (len(features(material)), max(1, samples))
    for row, length in zip(words.flatten(0, 1).tolist(), lengths.flatten().tolist(), strict=True):
        assert row[0] == trained.vocabulary.start
        output = row[1:length]
        assert not set(output) & set(trained.vocabulary.suppressed)
        assert output[0] != trained.vocabulary.end
        assert trained.vocabulary.end not in output[:-1]
        assert output[-1] == trained.vocabulary.end or len(output) == 6  # found no end among five words and the end


def test_likelihoods_are_those_that_the_samples_were_drawn_with(trained: Model, material: TrainingData) -> None:
    """Drawn often, a sentence comes up as often as its likelihood says."""
    one = features(material)[:1]
    torch.manual_seed(1)
    drawn = sample(trained.decoder, one, trained.vocabulary, 3000, 8)
    objective = objective_of(trained, material)
    with torch.no_grad():
        likelihoods, count = objective.likelihoods(one, drawn)
    assert count == (drawn.lengths - 1).sum()
    sentences = [tuple(row[:length]) for row, length in zip(drawn.words[0].tolist(), drawn.lengths[0].tolist(), strict=True)]
    common = max(set(sentences), key=sentences.count)
    share = sentences.count(common) / len(sentences)
    assert share > 0.005
    assert likelihoods[0, sentences.index(common)].exp().item() == pytest.approx(share, abs=4 * (share / 3000) ** 0.5)


def test_the_reward_counts_the_end_as_a_word(trained: Model, material: TrainingData) -> None:
    objective, batch = objective_of(trained, material), first_batch(material)
    words = trained.vocabulary
    caption = batch.captions[:, :1]
    length = batch.lengths[:, :1]
    whole = objective.rewards(batch, Sampled(caption, length))
    without_end = objective.rewards(batch, Sampled(caption, length - 1))
    assert whole.mean() > without_end.mean() + 0.1
    truncated = torch.cat([caption[:, :, :-1], torch.full_like(caption, words.end)], dim=2)
    for photo in range(len(truncated)):
        truncated[photo, 0, length[photo, 0] - 1] = words.number("a")
        truncated[photo, 0, length[photo, 0]] = words.end
    assert (whole > objective.rewards(batch, Sampled(truncated, length + 1)) + 0.1).all()


@pytest.mark.parametrize("baseline", ["greedy", "mean"])
def test_better_samples_become_likelier(trained: Model, material: TrainingData, baseline: str) -> None:
    """Along the gradient the likelihood of a sentence moves as its advantage says."""
    objective, batch = (
        objective_of(trained, material, baseline=baseline, cross_entropy=0.0, samples=8),
        first_batch(material),
    )
    seen = features(material)
    torch.manual_seed(2)
    drawn = sample(objective.decoder, seen, trained.vocabulary, 8, 24)
    rewards = objective.rewards(batch, drawn)
    if baseline == "greedy":
        worth = rewards - objective.rewards(batch, sample(objective.decoder, seen, trained.vocabulary, 0, 24))
    else:
        worth = rewards - rewards.mean(dim=1, keepdim=True)
    torch.manual_seed(2)
    outcome = objective(batch)
    assert outcome.measure.item() == pytest.approx(100 * rewards.mean().item(), rel=1e-5)
    objective.zero_grad()
    outcome.loss.backward()
    before, _ = objective.likelihoods(seen, drawn)
    state = {name: value.clone() for name, value in objective.decoder.state_dict().items()}
    with torch.no_grad():
        for parameter in objective.decoder.parameters():
            assert parameter.grad is not None
            parameter.sub_(0.01 * parameter.grad)
        after, _ = objective.likelihoods(seen, drawn)
    objective.decoder.load_state_dict(state)
    assert ((after - before.detach()) * worth).sum() > 0


def test_equal_rewards_train_nothing(trained: Model, material: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    objective = objective_of(trained, material, cross_entropy=0.0)
    monkeypatch.setattr(CiderD, "score", lambda *given: [0.7] * len(given[2]))
    outcome = objective(first_batch(material))
    assert outcome.loss.item() == pytest.approx(0, abs=1e-6)


def test_it_raises_the_reward(trained: Model, material: TrainingData, tmp_path: Path) -> None:
    config = settings(epochs=6, learning_rate=3e-3, samples=8).model_copy(update={"patience": 9})
    best = reinforce(config, material, trained, tmp_path, HERE)
    history = json.loads((tmp_path / "history.json").read_text())
    assert history[-1]["reward"] > 1.2 * history[0]["reward"]
    assert best.about["run"]["command"] == "reinforce"
    assert best.about["run"]["settings"]["encoder"] == trained.encoder.name
    assert best.about["before"]["run"]["command"] == "fit"
    assert "Reward" in (tmp_path / "log.txt").read_text()


def test_dropout_is_off(folder: DataFolder, material: TrainingData) -> None:
    model = plain_model(CONFIG, folder)
    noisy = Model(model.encoder, AttentionDecoder(model.decoder.shape, 0.9), model.vocabulary, {})
    objective = objective_of(noisy, material)
    assert not objective.decoder.training
    assert objective.training


def test_a_mean_of_the_others_needs_others() -> None:
    with pytest.raises(ValueError, match="samples must be 2 or more"):
        ReinforceConfig(samples=1)
