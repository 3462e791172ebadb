"""The kind ``evaluate``: stored prompts, and the bare model, on examples of a dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from promptatlas.types.tuning import EvaluateSpec

from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt
from service.errors import InvalidRequest
from workers.evaluation.checkpoint_interval import CheckpointInterval
from workers.evaluation.evaluator import ANSWER_METRICS, Evaluation, Evaluator
from workers.evaluation.example_rows import write_lines
from workers.evaluation.inputs import engine_limits, read_items, read_prompt
from workers.evaluation.items import Item
from workers.evaluation.summary import Summary
from workers.running.interface import RunContext, RunStopped

BARE = "bare"
"""Label of the model without a prompt; a stored one's carries its version."""

ROWS, REFS = "rows.jsonl", "prompts.json"
"""Files of a checkpoint."""


def evaluate(run: RunContext) -> Mapping[str, float]:
    """Ask all prompts all examples; leaves ``evaluation.jsonl``, ``summary.json`` and ``spec.json``.

    Returns:
        ``{ref}/{split}/{metric}``, ``bare/{split}/{metric}`` for the bare model, with ``…_low`` and ``…_high``; of a
        single prompt also ``{split}/{metric}``.

    Raises:
        InvalidRequest, NotFound, DamagedArtifact: the spec cannot be done, or no longer.
    """
    spec = EvaluateSpec.model_validate_json(json.dumps(dict(run.spec)))
    model = run.load_model(spec.model)
    kept = run.load_checkpoint()
    prompts = _prompts(run, spec.prompts if kept is None else json.loads(kept[REFS]), model)
    items = _items(run, spec, model, prompts)
    evaluator = Evaluator(
        model,
        prompts=prompts,
        metrics=spec.metrics,
        limits=engine_limits(run.settings),
        max_tokens=spec.max_tokens,
        check=run.check,
    )
    evaluation = Evaluation(evaluator, items=items)
    if kept is not None:
        evaluation.load(kept[ROWS])
    _carry_out(run, evaluation, labels=list(prompts))
    summary = Summary(evaluation.rows, metrics=spec.metrics, samples=spec.samples, seed=spec.seed)
    _leave_outputs(run, evaluation, summary, labels=list(prompts))
    _warn_of_gaps(run, spec, summary, labels=list(prompts))
    return _metrics(summary, labels=list(prompts))


def _prompts(run: RunContext, refs: Sequence[str | None], model: HostedModel) -> dict[str, Prompt | None]:
    """By ``name@version``, each once however often and by whatever reference it is named."""
    found: dict[str, Prompt | None] = {}
    for ref in refs:
        if ref is None:
            found[BARE] = None
            continue
        manifest = run.prompts.resolve(ref, base=model.card.name)
        found[manifest.ref] = read_prompt(run.prompts, manifest, model=model)
    return found


def _items(run: RunContext, spec: EvaluateSpec, model: HostedModel, prompts: Mapping[str, Prompt | None]) -> list[Item]:
    n_virtual = max((prompt.n_virtual for prompt in prompts.values() if prompt is not None), default=0)
    items = read_items(
        run.datasets,
        spec.dataset,
        model=model,
        split=spec.split,
        n=spec.n,
        seed=spec.seed,
        template=spec.template,
        n_virtual=n_virtual,
        log=lambda text: run.log(text, level="warning"),
    )
    if not items:
        raise InvalidRequest(f"Dataset {spec.dataset} has no {spec.split} example that fits the model's context.")
    return items


def _carry_out(run: RunContext, evaluation: Evaluation, *, labels: Sequence[str]) -> None:
    pace = CheckpointInterval(n_saved=len(evaluation.rows))
    # A name may mean a newer version by the time a run goes on; the versions it began with are kept.
    refs = json.dumps([None if label == BARE else label for label in labels]).encode()

    def save() -> None:
        run.save_checkpoint({ROWS: evaluation.state(), REFS: refs})
        pace.saved(len(evaluation.rows))

    try:
        while not evaluation.finished:
            run.check()
            evaluation.step()
            run.progress(len(evaluation.rows), evaluation.n_total)
            if pace.is_due(len(evaluation.rows)):
                save()
    except RunStopped:
        if len(evaluation.rows) > pace.n_saved:
            save()
        raise


def _leave_outputs(run: RunContext, evaluation: Evaluation, summary: Summary, *, labels: Sequence[str]) -> None:
    lines = [row.to_json(prompt=None if row.label == BARE else row.label) for row in evaluation.rows]
    run.save_output("evaluation.jsonl", write_lines(lines))
    table = {label: {name: score.to_json() for name, score in summary.of(label).items()} for label in labels}
    run.save_output("summary.json", json.dumps(table, indent=2, allow_nan=False).encode())
    run.save_output("spec.json", json.dumps(dict(run.spec), indent=2).encode())


def _warn_of_gaps(run: RunContext, spec: EvaluateSpec, summary: Summary, *, labels: Sequence[str]) -> None:
    for label in labels:
        missing = [metric for metric in spec.metrics if f"{spec.split}/{metric}" not in summary.of(label)]
        if missing:
            answers = (
                "running text has no answers" if set(missing) <= set(ANSWER_METRICS) else "some loss is not finite"
            )
            run.log(f"{label} has no {', '.join(missing)}: {answers}.", level="warning")


def _metrics(summary: Summary, *, labels: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for label in labels:
        found |= summary.flat(label, prefix=f"{label}/")
    prompts = [label for label in labels if label != BARE]
    if len(prompts) == 1:
        found |= summary.flat(prompts[0])
    return found
