"""inspect-ai: small tasks with its providers for servers of OpenAI's API and for vLLM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inspect_ai import Task
from inspect_ai import eval as evaluate
from inspect_ai.dataset import FieldSpec, json_dataset
from inspect_ai.model import GenerateConfig, Model, get_model
from inspect_ai.scorer import includes
from inspect_ai.solver import generate

from tests.other_clients.scripts.report import LONG, MODEL, N_TOKENS, TUNED, Server, report

QUESTIONS = str(Path(__file__).parents[1] / "tasks" / "places.jsonl")


def model_of(server: Server, *, provider: str = "openai-api/atlas", name: str = MODEL, **options: Any) -> Model:
    return get_model(f"{provider}/{name}", base_url=server.url, api_key=server.key, memoize=False, **options)


def answers(model: Model, *, repeat: int = 1, **options: Any) -> Any:
    """Outcome of a task with the questions of the file, each of them ``repeat`` times in its input."""
    fields = FieldSpec(input="text", target="answer")
    samples = json_dataset(QUESTIONS, fields)
    for sample in samples:
        sample.input = str(sample.input) * repeat
    config = GenerateConfig(max_tokens=N_TOKENS, max_retries=0, **options)
    task = Task(dataset=samples, solver=generate(), scorer=includes(), config=config)
    (log,) = evaluate(task, model=model, display="none")
    return {
        "status": log.status,
        "error": log.error.message if log.error else None,
        "accuracy": log.results.scores[0].metrics["accuracy"].value if log.results else None,
        "texts": [sample.output.completion for sample in log.samples or []],
        "reasons": [sample.output.stop_reason for sample in log.samples or []],
        "n_choices": [len(sample.output.choices) for sample in log.samples or []],
    }


def task(server: Server) -> Any:
    return answers(model_of(server), temperature=0)


def task_streamed(server: Server) -> Any:
    return answers(model_of(server, stream=True), temperature=0)


def task_sampled(server: Server) -> Any:
    options: dict[str, Any] = {"temperature": 1.0, "top_p": 0.9, "seed": 3, "num_choices": 2, "stop_seqs": ["."]}
    return answers(model_of(server), logprobs=True, top_logprobs=2, frequency_penalty=0.1, **options)


def task_vllm(server: Server) -> Any:
    return answers(model_of(server, provider="vllm"), temperature=0)


def task_tuned(server: Server) -> Any:
    return answers(model_of(server, name=TUNED), temperature=0)


def too_long(server: Server) -> Any:
    return answers(model_of(server), temperature=0, repeat=len(LONG) // 40)


if __name__ == "__main__":
    report({check.__name__: check for check in [task, task_streamed, task_sampled, task_vllm, task_tuned, too_long]})
