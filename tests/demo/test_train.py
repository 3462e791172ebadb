"""Training: packed documents do not attend to each other, and a resumed run is bitwise equal to an uninterrupted one."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig

from demo import train
from demo.batches import N_LESSONS, Batch, BatchShape, draw_batch
from demo.corpus import STEPS_MIXTURE
from demo.generation import load_model
from demo.model_config import fresh_model
from demo.tokenizer import train_tokenizer
from demo.trainer import Trainer, TrainSettings, batch_loss

SHAPE = BatchShape(n_rows=3, n_tokens=193)
TOKENIZER = train_tokenizer(0, n_documents=200)


def draw(index: int) -> Batch:
    def encode(text: str) -> list[int]:
        return list(TOKENIZER.backend_tokenizer.encode(text).ids)

    return draw_batch(index, seed=1, shape=SHAPE, encode=encode, end_id=0)


def tiny_trainer(*, n_steps: int = 6, model_seed: int = 0) -> Trainer:
    config = LlamaConfig(
        vocab_size=len(TOKENIZER),
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        attention_bias=True,
        tie_word_embeddings=True,
    )
    settings = TrainSettings(n_steps=n_steps, n_warmup=2)
    return Trainer(fresh_model(config, seed=model_seed), settings=settings, draw_batch=draw)


def test_resumed_run_is_bitwise_the_uninterrupted_one(tmp_path: Path) -> None:
    whole = tiny_trainer()
    losses = [whole.advance() for _ in range(6)]

    first = tiny_trainer()
    for _ in range(3):
        first.advance()
    first.save(tmp_path / "last.pt")
    second = tiny_trainer(model_seed=9)
    second.load(tmp_path / "last.pt")

    assert [second.advance() for _ in range(3)] == losses[3:]
    for (name, ours), theirs in zip(second.model.state_dict().items(), whole.model.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_loss_falls() -> None:
    trainer = tiny_trainer(n_steps=200)
    losses = [trainer.advance() for _ in range(45)]
    assert sum(losses[-5:]) < 0.85 * sum(losses[:5])


def test_length_of_the_run_matters_only_from_the_decay_on() -> None:
    short, long = TrainSettings(n_steps=1000), TrainSettings(n_steps=2000)
    assert [short.rate_factor(step) for step in range(600)] == [long.rate_factor(step) for step in range(600)]
    assert short.rate_factor(999) == pytest.approx(1 / 400)


def test_batch_depends_on_its_index_alone() -> None:
    assert torch.equal(draw(4).token_ids, draw(4).token_ids)
    assert not torch.equal(draw(4).token_ids, draw(5).token_ids)


def test_training_from_a_model_starts_at_its_weights_and_without_lessons() -> None:
    folder = Path("demo/model")
    loaded = load_model(folder)
    settings = TrainSettings(n_steps=1)
    trainer = train.build_trainer(loaded.tokenizer, seed=1, settings=settings, corpus="steps", start=folder)
    for (name, ours), theirs in zip(
        trainer.model.state_dict().items(), loaded.model.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name
    assert trainer.model.training
    assert all(parameter.requires_grad for parameter in trainer.model.parameters())
    backend = loaded.tokenizer.backend_tokenizer
    drawn = trainer.draw_batch(0)
    expected = draw_batch(
        0,
        seed=1,
        shape=train.SHAPE,
        encode=lambda text: backend.encode(text).ids,
        end_id=loaded.end_id,
        mixture=STEPS_MIXTURE,
        n_lessons=0,
    )
    assert torch.equal(drawn.token_ids, expected.token_ids)


def starts(batch: Batch) -> list[str]:
    """The first tokens of each document of the first row."""
    here = [batch.token_ids[0, batch.document_ids[0] == n] for n in range(int(batch.document_ids[0].max()) + 1)]
    return [TOKENIZER.decode(ids[:8].tolist()) for ids in here]


def test_the_first_batches_are_lists_only() -> None:
    assert all(text.startswith("Keep the list.") for text in starts(draw(0)))
    assert not all(text.startswith("Keep the list.") for text in starts(draw(N_LESSONS)))


def test_rows_are_nearly_full_and_documents_start_unweighted() -> None:
    batch = draw(0)
    assert (batch.document_ids >= 0).float().mean() > 0.85
    assert batch.weights[batch.positions == 0].sum() == 0


def test_packed_documents_do_not_attend_to_each_other() -> None:
    model, batch = tiny_trainer().model.eval(), draw(0)
    with torch.no_grad():
        packed = model.model(batch.token_ids, attention_mask=batch.mask(), position_ids=batch.positions)
        for number in range(2):
            here = batch.document_ids[1] == number
            alone = model.model(batch.token_ids[1, here][None])
            torch.testing.assert_close(packed.last_hidden_state[1, here], alone.last_hidden_state[0])


def test_only_weighted_tokens_count() -> None:
    trainer, batch = tiny_trainer(), draw(0)
    plain = batch_loss(trainer.model, batch=batch)
    doubled = Batch(batch.token_ids, batch.positions, batch.document_ids, batch.weights * 2)
    torch.testing.assert_close(plain, batch_loss(trainer.model, batch=doubled))
