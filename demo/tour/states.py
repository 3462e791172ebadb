"""Activations under prompts, and trajectories: what the demo measures on them and hands to the picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from promptatlas import Client

from demo.tour.asking import Question, Way

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LastStates:
    """`resid_post` of one layer at the last token of each question, `[n_questions, d_model]` by way."""

    layer: int
    by_way: dict[str, Array]

    def distance(self, label: str, *, reference: str) -> float:
        """Mean Euclidean distance to the states of another way, as a share of the mean distance between its questions."""
        here, there = self.by_way[label], self.by_way[reference]
        between = np.linalg.norm(there[:, None] - there[None], axis=-1)
        spread = between.sum() / (len(there) * (len(there) - 1))
        return float(np.linalg.norm(here - there, axis=-1).mean() / spread)


@dataclass(frozen=True)
class Walk:
    """One trajectory: its tokens, their states `[n_tokens, d_model]`, and which of them the model wrote."""

    label: str
    text: str
    token_ids: tuple[int, ...]
    states: Array
    generated: npt.NDArray[np.bool_]
    logprobs: Array

    @property
    def step_lengths(self) -> Array:
        """Distance of each state from the one before, NaN for the first."""
        moved = np.linalg.norm(np.diff(self.states, axis=0), axis=-1)
        return np.concatenate([[np.nan], moved]).astype(np.float32)


def last_states(
    client: Client, *, model: str, layer: int, ways: Sequence[Way], questions: Sequence[Question]
) -> LastStates:
    """States at the place where the answer is about to be chosen."""
    by_way = {}
    for way in ways:
        with client.activations.get(
            model=model,
            inputs=[way.input(question.input) for question in questions],
            sites=["resid_post"],
            layers=[layer],
            positions="last",
            prompt_ref=way.prompt,
        ) as cache:
            by_way[way.label] = np.array(cache["resid_post", layer])
    return LastStates(layer, by_way)


def walks(
    client: Client, *, model: str, layer: int, ways: Sequence[Way], question: str, max_tokens: int
) -> tuple[Walk, ...]:
    """The greedy generation after one question, with the state of every token, one walk a way."""
    found = []
    for way in ways:
        with client.trajectories.create(
            model=model,
            inputs=[way.input(question)],
            sites=["resid_post"],
            layers=[layer],
            prompt_ref=way.prompt,
            max_tokens=max_tokens,
            temperature=0,
        ) as result:
            (one,) = result
            ids, generated, logprobs = one.token_ids, one.generated, one.logprobs
            assert ids is not None
            assert generated is not None
            assert logprobs is not None
            states = np.array(one["resid_post", layer])
            found.append(Walk(way.label, one.text, tuple(ids.tolist()), states, generated.copy(), logprobs.copy()))
    return tuple(found)
