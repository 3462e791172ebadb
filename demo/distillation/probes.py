"""What the states before the first answer token know: the holders of the chain, read out linearly at each layer."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from promptatlas import Client

from demo.chains import N_HANDS
from demo.distillation.data import chains, holders
from demo.distillation.jobs import MODEL, header
from demo.distillation.record import Record
from demo.lexicon import PEOPLE

RIDGE: Final = 1e-2
"""Of the standardised states, per training chain."""
N_AT_ONCE: Final = 128

Array = npt.NDArray[np.float64]


def measure_probes(client: Client, *, record: Record) -> list[dict[str, Any]]:
    """Accuracy of linear probes on test chains, by variant of the model, layer and number of hands.

    A probe names the holder after so many hands, given the state at the last input token. Variants: the model
    without a prompt, with the header of the result at once, with the header of the steps, and with the soft student of the answer
    that has the lowest validation loss.
    """
    size = record.size
    shown = [*chains("train", size=size)[: size.n_probe], *chains("test", size=size)]
    n_train = len(shown) - size.n_test
    people = {name: i for i, name in enumerate(PEOPLE)}
    labels = np.array([[people[name] for name in holders(example)] for example in shown])
    found = []
    for variant, (context, prompt) in variants(record).items():
        by_layer = _states(client, inputs=[f"{context}{one.input}" for one in shown], prompt=prompt)
        for layer, states in by_layer.items():
            for n in range(1, N_HANDS + 1):
                share = probe_accuracy(states, labels[:, n], n_train=n_train)
                found.append({"variant": variant, "layer": layer, "n_hands": n, "accuracy": share})
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


def probe_accuracy(states: Array, labels: npt.NDArray[np.int64], *, n_train: int) -> float:
    """Accuracy on the rows after ``n_train`` of a ridge classifier of the rows before: standardised states, free intercepts."""
    train, test = states[:n_train], states[n_train:]
    centre, scale = train.mean(0), train.std(0) + 1e-9
    x, targets = (train - centre) / scale, np.eye(int(labels.max()) + 1)[labels[:n_train]]
    offset = targets.mean(0)
    weights = np.linalg.solve(x.T @ x + RIDGE * n_train * np.eye(x.shape[1]), x.T @ (targets - offset))
    predicted = ((test - centre) / scale @ weights + offset).argmax(1)
    return float((predicted == labels[n_train:]).mean())


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
