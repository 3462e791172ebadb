"""States of texts: those of a dataset, and those that are given."""

from __future__ import annotations

from collections.abc import Iterable

from promptatlas.types.maps import DatasetSource, TextsSource
from promptatlas.types.references import PromptRef

from service.store.maps.points import shown
from workers.inputs.limits import engine_limits
from workers.maps.layer_points import PointCollector
from workers.states.prompt_choice import ChosenPrompt, choose_prompt
from workers.states.reader import Per, StateReader, States
from workers.states.texts import Encoder, Text


def add_dataset(source: DatasetSource, *, name: str, to: PointCollector) -> None:
    """A seeded sample of a dataset's records, each as tuning reads it."""
    prompt, encoder = _under(source.prompt_ref, to)
    examples = to.run.datasets.examples(
        source.dataset, split=source.split, n=source.n, seed=source.seed, template=source.template
    )
    texts = encoder.examples(examples, include_target=source.include_target)
    _add(texts, name=name, per=source.per, n=source.n, prompt=prompt, encoder=encoder, to=to)


def add_texts(source: TextsSource, *, name: str, to: PointCollector) -> None:
    """The given texts."""
    prompt, encoder = _under(source.prompt_ref, to)
    texts = encoder.texts(source.texts)
    _add(texts, name=name, per=source.per, n=len(source.texts), prompt=prompt, encoder=encoder, to=to)


def _under(ref: PromptRef | None, to: PointCollector) -> tuple[ChosenPrompt | None, Encoder]:
    prompt = choose_prompt(to.run.prompts, ref, model=to.model)
    return prompt, Encoder(to.model, n_virtual=0 if prompt is None else prompt.prompt.n_virtual)


def _add(
    texts: Iterable[Text],
    *,
    name: str,
    per: Per,
    n: int,
    prompt: ChosenPrompt | None,
    encoder: Encoder,
    to: PointCollector,
) -> None:
    reader = StateReader(
        to.model,
        prompt=None if prompt is None else prompt.prompt,
        limits=engine_limits(to.run.settings),
        check=to.run.check,
    )
    ref = None if prompt is None else prompt.ref
    n_read = 0
    for states in reader.states(texts, layers=to.layers, per=per):
        _add_states(states, name=name, ref=ref, encoder=encoder, to=to)
        n_read += len(states.texts)
        to.tell(n_read / n)


def _add_states(states: States, *, name: str, ref: str | None, encoder: Encoder, to: PointCollector) -> None:
    texts = [shown(text.text) for text in states.texts]
    tasks = [text.task for text in states.texts]
    rows = states.rows.tolist()
    tokens = None if states.token_ids is None else list(map(encoder.token_text, states.token_ids.tolist()))
    for layer, vectors in states.vectors.items():
        to.points[layer].add(
            vectors,
            source=name,
            role="state",
            positions=states.positions,
            text=[texts[row] for row in rows],
            task=[tasks[row] for row in rows],
            token=tokens,
            prompt=ref,
        )
