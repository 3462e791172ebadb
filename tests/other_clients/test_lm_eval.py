"""lm-evaluation-harness: each item scored through the service equals the item scored by the harness' own ``hf`` model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.other_clients.clients_environment import LIMIT_S, ROOT, SCRIPTS, Clients, block_of

TASKS = SCRIPTS.parent / "tasks"
MODEL = ROOT / "demo" / "model"
N_ROWS = len((TASKS / "places.jsonl").read_text().splitlines())

# Two runs of the harness.
pytestmark = pytest.mark.timeout(2 * LIMIT_S + 120)

Samples = dict[str, list[Any]]
"""Responses to each item, by task."""


def samples_in(folder: Path) -> Samples:
    """The responses that the harness has logged."""
    found: Samples = {}
    for file in folder.rglob("samples_*.jsonl"):
        rows = sorted(map(json.loads, file.read_text().splitlines()), key=lambda row: int(row["doc_id"]))
        found[file.name.removeprefix("samples_").rpartition("_")[0]] = [row["resps"] for row in rows]
    return found


@pytest.fixture(scope="module")
def folder(clients: Clients) -> Path:
    copy = clients.folder / "tasks"
    shutil.copytree(TASKS, copy)
    return copy


@pytest.fixture(scope="module")
def served(clients: Clients, folder: Path) -> Samples:
    """By the command of the page."""
    command = clients.filled_in(block_of("lm-evaluation-harness", language="bash"))
    for here, there in (("tests/other_clients/tasks", folder), ("../../../demo/model", MODEL)):
        assert here in command
        command = command.replace(here, str(there))
    clients.run(["bash", "-euc", command])
    return samples_in(folder / "results")


@pytest.fixture(scope="module")
def expected(clients: Clients, folder: Path) -> Samples:
    """By the harness' own model, without a server."""
    options = (
        "--device cpu --tasks places_choice,places_generate,places_text --include_path . --output_path hf --log_samples"
    )
    command = f"cd {folder}; lm_eval run --model hf --model_args pretrained={MODEL},dtype=float32 {options}"
    clients.run(["bash", "-euc", command])
    return samples_in(folder / "hf")


def numbers(responses: list[Any]) -> list[tuple[float, str]]:
    """(log-likelihood, whether greedy) of all continuations, in order; the harness writes them as text."""
    return [(float(pair[0]), str(pair[1])) for row in responses for [pair] in row]


def test_log_likelihoods(served: Samples, expected: Samples) -> None:
    found, right = numbers(served["places_choice"]), numbers(expected["places_choice"])
    assert len(found) == 3 * N_ROWS
    assert [value for value, _ in found] == pytest.approx([value for value, _ in right], abs=1e-3)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in right]
    assert {greedy for _, greedy in found} == {"True", "False"}


def test_rolling_log_likelihoods(served: Samples, expected: Samples) -> None:
    found, right = served["places_text"], expected["places_text"]
    assert len(found) == N_ROWS
    assert [float(row[0][0]) for row in found] == pytest.approx([float(row[0][0]) for row in right], abs=1e-3)


def test_generations_with_six_stop_strings(served: Samples, expected: Samples) -> None:
    assert served["places_generate"] == expected["places_generate"]
    texts = [row[0][0] for row in served["places_generate"]]
    assert len(set(texts)) == N_ROWS
