"""The map that the demo leaves: tasks, tokens, the best prompts on their way from draw to posterior, one generation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from promptatlas import Client, Map

from demo.tour.asking import Quiz
from demo.tour.jobs import Spec

RUN_NAME = "tasks, tokens and prompts"


@dataclass(frozen=True, kw_only=True)
class Placing:
    """Questions that were placed on a finished map. n_own: those that lie nearer to their own task's centre there."""

    layer: int
    n_own: int
    n_questions: int


def make_map(
    client: Client,
    *,
    model: str,
    layers: Sequence[int],
    prompts: Mapping[str, str],
    datasets: Mapping[str, str],
    question: str,
    n_texts: int,
    max_tokens: int,
) -> Map:
    """A map by principal components, a basis a layer.

    Args:
        layers: inputs of these blocks; at 0, the vocabulary is drawn too.
        prompts: references by what the map calls them, each with its draw and its way through training.
        datasets: names by what the map calls them; a point a text, without the target.
        question: followed as it is answered under the first of the prompts, token by token.

    Raises:
        RunFailedError: the run that makes it has failed.
    """
    first = next(iter(prompts.values()))
    walk = {"inputs": [question], "prompt_ref": first, "max_tokens": max_tokens}
    sources: list[Spec] = [
        {"embeddings": "vocabulary"},
        *({"dataset": one, "n": n_texts, "include_target": False, "name": name} for name, one in datasets.items()),
        *({"prompts": [ref], "snapshots": True, "name": name} for name, ref in prompts.items()),
        {"trajectories": walk, "name": "an answer, token by token"},
    ]
    return client.maps.make(model=model, sources=sources, layers=list(layers), run_name=RUN_NAME).map()


def place(made: Map, quizzes: Sequence[Quiz], *, layer: int) -> Placing:
    """Place the questions of all quizzes on a map that knows their titles as sources; nothing is fitted again."""
    at = made.layer == layer
    centres = np.stack([made.coordinates[at & (made.source == quiz.title)].mean(0) for quiz in quizzes])
    n_own = 0
    for index, quiz in enumerate(quizzes):
        placed = made.project(texts=[question.input for question in quiz.questions], layers=[layer])
        away = np.linalg.norm(placed.coordinates[:, None] - centres, axis=-1)
        n_own += int((away.argmin(1) == index).sum())
    return Placing(layer=layer, n_own=n_own, n_questions=sum(len(quiz.questions) for quiz in quizzes))


def address(url: str, made: Map) -> str:
    """Where the page shows it."""
    return f"{url}/#/atlas/{made.id}"
