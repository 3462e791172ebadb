"""Run kind ``evaluate``: stored prompts and the bare model on examples of a dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from promptatlas.types.tuning import EvaluateSpec

from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt
from service.errors import InvalidRequest
from workers.evaluation.answer_metrics import ANSWER_METRICS
from workers.evaluation.answer_sampling import measures_of_sampling
from workers.evaluation.evaluator import Evaluation, Evaluator
from workers.evaluation.example_rows import CheckpointInterval, write_lines
from workers.evaluation.summary import Summary
from workers.inputs.examples import EvalExample, read_eval_examples
from workers.inputs.limits import engine_limits
from workers.inputs.prompts import read_prompt
from workers.running.interface import RunContext, RunStopped

BARE = "bare"
"""Label of the model without a prompt. Stored prompts are labelled ``name@version``."""

ROWS, REFS = "rows.jsonl", "prompts.json"
"""Files of a checkpoint."""


def evaluate(run: RunContext) -> Mapping[str, float]:
    """Evaluate all prompts on all examples; writes ``evaluation.jsonl``, ``summary.json`` and ``spec.json``.

    Returns:
        ``{ref}/{split}/{metric}`` and ``bare/{split}/{metric}`` for the bare model, with ``…_low`` and ``…_high``. For a
        single prompt also ``{split}/{metric}``.

    Raises:
        InvalidRequest, NotFound, DamagedArtifact: Something that the spec names is invalid, missing or damaged.
    """
    spec = EvaluateSpec.model_validate_json(json.dumps(dict(run.spec)))
    model = run.load_model(spec.model)
    checkpoint = run.load_checkpoint()
    prompts = _prompts(run, spec.prompts if checkpoint is None else json.loads(checkpoint[REFS]), model)
    examples = _examples(run, spec, model, prompts)
    evaluator = Evaluator(
        model,
        prompts=prompts,
        metrics=spec.metrics,
        limits=engine_limits(run.settings),
        max_tokens=spec.max_tokens,
        check=run.check,
        sampling=spec.sampling,
        seed=spec.seed,
    )
    evaluation = Evaluation(evaluator, examples=examples)
    if checkpoint is not None:
        evaluation.load(checkpoint[ROWS])
    _evaluate_all(run, evaluation, labels=list(prompts))
    metrics = [*spec.metrics, *measures_of_sampling(spec.sampling)]
    summary = Summary(evaluation.rows, metrics=metrics, samples=spec.samples, seed=spec.seed)
    _save_outputs(run, evaluation, summary, labels=list(prompts))
    _warn_about_missing_metrics(run, spec, summary, labels=list(prompts))
    return _metrics(summary, labels=list(prompts))


def _prompts(run: RunContext, refs: Sequence[str | None], model: HostedModel) -> dict[str, Prompt | None]:
    """Prompts by ``name@version``; a prompt that is referenced more than once appears once."""
    found: dict[str, Prompt | None] = {}
    for ref in refs:
        if ref is None:
            found[BARE] = None
            continue
        manifest = run.prompts.resolve(ref, base=model.card.name)
        found[manifest.ref] = read_prompt(run.prompts, manifest, model=model)
    return found


def _examples(
    run: RunContext, spec: EvaluateSpec, model: HostedModel, prompts: Mapping[str, Prompt | None]
) -> list[EvalExample]:
    n_virtual = max((prompt.n_virtual for prompt in prompts.values() if prompt is not None), default=0)
    examples = read_eval_examples(
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
    if not examples:
        raise InvalidRequest(f"Dataset {spec.dataset} has no {spec.split} example that fits the model's context.")
    return examples


def _evaluate_all(run: RunContext, evaluation: Evaluation, *, labels: Sequence[str]) -> None:
    interval = CheckpointInterval(n_saved=len(evaluation.rows))
    # A name may resolve to a newer version when the run resumes; the checkpoint pins the versions.
    refs = json.dumps([None if label == BARE else label for label in labels]).encode()

    def save() -> None:
        run.save_checkpoint({ROWS: evaluation.state(), REFS: refs})
        interval.saved(len(evaluation.rows))

    try:
        while not evaluation.finished:
            run.check()
            evaluation.step()
            run.progress(len(evaluation.rows), evaluation.n_total)
            if interval.is_due(len(evaluation.rows)):
                save()
    except RunStopped:
        if len(evaluation.rows) > interval.n_saved:
            save()
        raise


def _save_outputs(run: RunContext, evaluation: Evaluation, summary: Summary, *, labels: Sequence[str]) -> None:
    lines = [row.to_json(prompt=None if row.label == BARE else row.label) for row in evaluation.rows]
    run.save_output("evaluation.jsonl", write_lines(lines))
    table = {label: {name: score.to_json() for name, score in summary.of(label).items()} for label in labels}
    run.save_output("summary.json", json.dumps(table, indent=2, allow_nan=False).encode())
    run.save_output("spec.json", json.dumps(dict(run.spec), indent=2).encode())


def _warn_about_missing_metrics(
    run: RunContext, spec: EvaluateSpec, summary: Summary, *, labels: Sequence[str]
) -> None:
    for label in labels:
        missing = [metric for metric in spec.metrics if f"{spec.split}/{metric}" not in summary.of(label)]
        if missing:
            reason = "running text has no answers" if set(missing) <= set(ANSWER_METRICS) else "some loss is not finite"
            run.log(f"{label} has no {', '.join(missing)}: {reason}.", level="warning")


def _metrics(summary: Summary, *, labels: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for label in labels:
        found |= summary.flat(label, prefix=f"{label}/")
    prompts = [label for label in labels if label != BARE]
    if len(prompts) == 1:
        found |= summary.flat(prompts[0])
    return found
