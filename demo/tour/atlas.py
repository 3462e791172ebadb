"""The map that the demo creates: tasks, tokens, the best prompts from draw to posterior, and one generation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from promptatlas import Client, Map

from demo.tour.jobs import Spec
from demo.tour.questions import QuestionSet
from demo.tour.tour import Mapped

RUN_NAME = "tasks, tokens and prompts"


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Questions placed on a fitted map. n_own: the number of questions that are nearest to the centre of their task."""

    layer: int
    n_own: int
    n_questions: int


def make_map(
    client: Client,
    *,
    model: str,
    layers: Sequence[int],
    mapped: Mapped,
    prompts: Mapping[str, str],
    datasets: Mapping[str, str],
    question: str,
    max_tokens: int,
) -> Map:
    """A map by principal components, with one basis per layer.

    Args:
        layers: inputs of these blocks; layer 0 also has the vocabulary. mapped: the numbers of points.
        prompts: references by source name, each with its draw and training snapshots.
        datasets: dataset names by source name; one point per text, without the target.
        question: its completion under the first prompt is added as a trajectory.

    Raises:
        RunFailedError: the run that fits the map has failed.
    """
    first = next(iter(prompts.values()))
    trajectory = {"inputs": [question], "prompt_ref": first, "max_tokens": max_tokens}
    sources: list[Spec] = [
        {"embeddings": "vocabulary", **({"n": mapped.n_vocabulary} if mapped.n_vocabulary is not None else {})},
        *(_texts(one, n=mapped.n_texts, name=name) for name, one in datasets.items()),
        *(
            {**_texts(one, n=mapped.n_token_texts, name=f"tokens of {name}"), "per": "token"}
            for name, one in datasets.items()
            if mapped.n_token_texts
        ),
        *({"prompts": [ref], "snapshots": True, "name": name} for name, ref in prompts.items()),
        {"trajectories": trajectory, "name": "an answer, token by token"},
    ]
    return client.maps.make(model=model, sources=sources, layers=list(layers), run_name=RUN_NAME).map()


def _texts(dataset: str, *, n: int, name: str) -> Spec:
    return {"dataset": dataset, "n": n, "include_target": False, "name": name}


def place(fitted: Map, question_sets: Sequence[QuestionSet], *, layer: int) -> Placement:
    """Place all questions on a map whose sources are named by the titles of their sets. The map is not refitted."""
    at = fitted.layer == layer
    centres = np.stack([fitted.coordinates[at & (fitted.source == one.title)].mean(0) for one in question_sets])
    n_own = 0
    for index, one in enumerate(question_sets):
        placed = fitted.project(texts=[question.input for question in one.questions], layers=[layer])
        distances = np.linalg.norm(placed.coordinates[:, None] - centres, axis=-1)
        n_own += int((distances.argmin(1) == index).sum())
    return Placement(layer=layer, n_own=n_own, n_questions=sum(len(one.questions) for one in question_sets))


def address(url: str, fitted: Map) -> str:
    """The address of the map on the web page."""
    return f"{url}/#/atlas/{fitted.id}"
