"""The model without a tuned prompt but with an instruction in the text, evaluated on the examples of the tuning runs."""

from collections.abc import Mapping
from typing import Any

from promptatlas import Client, Run
from promptatlas.types import Template

from demo.tour.formats import format_shares
from demo.tour.jobs import Job
from demo.tour.progress import follow
from demo.tour.report.printing import Printer
from demo.tour.report.verdict import Baselines
from demo.tour.tour import Chat, Task, Tour


def evaluate_baselines(client: Client, tour: Tour, *, chat: Chat, printer: Printer) -> Baselines:
    """Metrics of the instructed model for each task that has a target under the instruction, by dataset.

    The examples, metrics and limits are those of the first run of the task.
    """
    started: list[tuple[Job, Run]] = []
    for task in tour.tasks:
        if task.target is not None:
            job = tour.jobs_of(task)[0]
            template = client.datasets.get(task.dataset).template
            spec = spec_of(task, job=job, model=tour.model, chat=chat, template=template)
            started.append((job, client.runs.create("evaluate", spec, name=f"{task.title}, {task.reference}")))
    follow([run for _, run in started], console=printer.console)
    return {job.dataset: _metrics(run, job=job) for job, run in started}


def spec_of(task: Task, *, job: Job, model: str, chat: Chat, template: Template | None) -> Mapping[str, Any]:
    """Spec of an evaluation with the instruction around the input of the dataset's template."""
    if template is None or task.target is None:
        raise ValueError(f"expected a dataset with a template and a target for {task.title}")
    before, _, after = task.frame(chat).partition("{input}")
    framed = f"{_literal(before)}{template.input}{_literal(after)}"
    return {
        "model": model,
        "prompts": [None],
        "dataset": task.dataset,
        "template": {"input": framed, "target": task.target},
        "metrics": [*job.metrics],
        **{name: job.eval[name] for name in ("n", "max_tokens") if name in job.eval},
    }


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _metrics(run: Run, *, job: Job) -> Mapping[str, float]:
    found = dict(run.outcome)
    if job.format is not None:
        found |= format_shares(run.read("evaluation.jsonl"), form=job.format)
    return found
