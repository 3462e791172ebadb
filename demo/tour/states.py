"""Activations and trajectories under prompts, and the measures of them that the demo shows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from promptatlas import Client

from demo.tour.questions import Question, Variant

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LastStates:
    """`resid_post` of one layer at the last token of each question, `[n_questions, d_model]` for each variant."""

    layer: int
    by_variant: dict[str, Array]

    def distance(self, label: str, *, reference: str) -> float:
        """Mean Euclidean distance to the states of another variant, relative to the mean distance between its questions."""
        here, there = self.by_variant[label], self.by_variant[reference]
        between = np.linalg.norm(there[:, None] - there[None], axis=-1)
        spread = between.sum() / (len(there) * (len(there) - 1))
        return float(np.linalg.norm(here - there, axis=-1).mean() / spread)


@dataclass(frozen=True)
class Trajectory:
    """One trajectory: its tokens, their states `[n_tokens, d_model]`, and which of them were generated."""

    label: str
    text: str
    token_ids: tuple[int, ...]
    states: Array
    generated: npt.NDArray[np.bool_]
    logprobs: Array

    @property
    def step_lengths(self) -> Array:
        """Distance of each state from the previous one; NaN for the first."""
        moved = np.linalg.norm(np.diff(self.states, axis=0), axis=-1)
        return np.concatenate([[np.nan], moved]).astype(np.float32)


def last_states(
    client: Client, *, model: str, layer: int, variants: Sequence[Variant], questions: Sequence[Question]
) -> LastStates:
    """States at the last input token, which predict the first token of the answer."""
    by_variant = {}
    for variant in variants:
        with client.activations.get(
            model=model,
            inputs=[variant.input(question.input) for question in questions],
            sites=["resid_post"],
            layers=[layer],
            positions="last",
            prompt_ref=variant.prompt,
        ) as cache:
            by_variant[variant.label] = np.array(cache["resid_post", layer])
    return LastStates(layer, by_variant)


def read_trajectories(
    client: Client, *, model: str, layer: int, variants: Sequence[Variant], question: str, max_tokens: int
) -> tuple[Trajectory, ...]:
    """The greedy completion of one question under each variant, with the state of every token."""
    found = []
    for variant in variants:
        with client.trajectories.create(
            model=model,
            inputs=[variant.input(question)],
            sites=["resid_post"],
            layers=[layer],
            prompt_ref=variant.prompt,
            max_tokens=max_tokens,
            temperature=0,
        ) as result:
            (one,) = result
            ids, generated, logprobs = one.token_ids, one.generated, one.logprobs
            assert ids is not None
            assert generated is not None
            assert logprobs is not None
            states = np.array(one["resid_post", layer])
            found.append(
                Trajectory(variant.label, one.text, tuple(ids.tolist()), states, generated.copy(), logprobs.copy())
            )
    return tuple(found)
