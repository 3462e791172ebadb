"""What the states before the first answer token know: running totals, read out linearly at each layer."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from promptatlas import Client

from demo.distillation.data import chains
from demo.distillation.jobs import MODEL, header
from demo.distillation.record import Record
from demo.tasks import Example

RIDGE: Final = 1e-2
"""Of the standardised states, per training chain."""
N_AT_ONCE: Final = 128

Array = npt.NDArray[np.float64]


def measure_probes(client: Client, *, record: Record) -> list[dict[str, Any]]:
    """R² on test chains of ridge regressions, by variant of the model, layer and number of operations.

    The regression predicts the total after so many operations from the state at the last input token. Variants: the model
    without a prompt, with the header of the result at once, with the header of the steps, and with the soft student of the answer
    that has the lowest validation loss.
    """
    size = record.size
    shown = [*chains("train", size=size)[: size.n_probe], *chains("test", size=size)]
    n_train = len(shown) - size.n_test
    totals = np.array([_totals(one) for one in shown], np.float64)
    found = []
    for variant, (context, prompt) in variants(record).items():
        by_layer = _states(client, inputs=[f"{context}{one.input}" for one in shown], prompt=prompt)
        for layer, states in by_layer.items():
            for n_operations in (1, 2, 3, 4, 5):
                score = r_squared(states, totals[:, n_operations - 1], n_train=n_train)
                found.append({"variant": variant, "layer": layer, "total": str(n_operations), "r2": score})
            score = r_squared(states, np.array([float(one.answer) for one in shown]), n_train=n_train)
            found.append({"variant": variant, "layer": layer, "total": "result", "r2": score})
    return found


def variants(record: Record) -> dict[str, tuple[str, str | None]]:
    """Context and prompt of each variant."""
    found: dict[str, tuple[str, str | None]] = {
        "no prompt": ("", None),
        "header: result at once": (header("chain"), None),
        "header: all steps": (header("chain-cot"), None),
    }
    students = [
        (one.loss, prompt)
        for name, done in record.runs.items()
        for one, prompt in zip(
            (one for one in record.answers if one.run == name and one.stage == "after"), done.prompts, strict=False
        )
        if (one.group, one.method, one.what) == ("student", "soft", "the answer") and one.loss is not None
    ]
    return {**found, "student of the answer": ("", min(students)[1])} if students else found


def r_squared(states: Array, values: Array, *, n_train: int) -> float:
    """R² on the rows after ``n_train`` of a ridge regression on the rows before: standardised states, free intercept."""
    train, test = states[:n_train], states[n_train:]
    centre, scale = train.mean(0), train.std(0) + 1e-9
    x, offset = (train - centre) / scale, values[:n_train].mean()
    weights = np.linalg.solve(x.T @ x + RIDGE * n_train * np.eye(x.shape[1]), x.T @ (values[:n_train] - offset))
    predicted = (test - centre) / scale @ weights + offset
    actual = values[n_train:]
    variance = float(((actual - actual.mean()) ** 2).sum())
    return 1.0 - float(((actual - predicted) ** 2).sum()) / variance if variance else 0.0


def _totals(one: Example) -> Sequence[int]:
    """The first five totals; every chain has at least six operations."""
    return [int(total) for total in one.target.strip().split("; ")[:5]]


def _states(client: Client, *, inputs: Sequence[str], prompt: str | None) -> Mapping[int, Array]:
    """``resid_post`` of every layer at the last input token, `[n_inputs, d_model]`."""
    n_layers = client.models.get(MODEL).n_layers
    parts: dict[int, list[Array]] = {layer: [] for layer in range(n_layers)}
    for start in range(0, len(inputs), N_AT_ONCE):
        with client.activations.get(
            model=MODEL,
            inputs=list(inputs[start : start + N_AT_ONCE]),
            sites=["resid_post"],
            layers=list(range(n_layers)),
            positions="last",
            prompt_ref=prompt,
        ) as cache:
            for layer in range(n_layers):
                read = np.array(cache["resid_post", layer], np.float64)
                parts[layer].append(read.reshape(-1, read.shape[-1]))
    return {layer: np.concatenate(found) for layer, found in parts.items()}
