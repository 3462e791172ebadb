"""Accuracy during training: the copies of soft students' vectors are stored as prompts and evaluated."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from promptatlas import Client, Run
from safetensors.numpy import load

from demo.distillation.answers import CountTokens, read_answers
from demo.distillation.data import STEPS
from demo.distillation.jobs import MAX_TOKENS, MODEL, Job
from demo.distillation.record import Answers, Record

TENSOR: Final = "soft"


def evaluate_snapshots(
    client: Client, *, record: Record, count: CountTokens, finish: Callable[[Run], Run]
) -> list[Answers]:
    """Answers at the stage ``during`` of all soft students, at each copy but the last, whose answers are known."""
    found = []
    for name, done in record.runs.items():
        students = [one for one in record.answers if one.run == name and one.stage == "after"]
        if not students or (students[0].group, students[0].method) != ("student", "soft"):
            continue
        run = client.runs.get(done.run_id)
        copies = [
            (student, step, ref)
            for student, prompt in zip(students, done.prompts, strict=True)
            for step, ref in _stored(client, run, prompt=prompt, last=student.step)
        ]
        if copies:
            refs = list(dict.fromkeys(ref for *_, ref in copies))
            answers = _evaluated(client, run=name, refs=refs, count=count, finish=finish)
            found += [
                replace(
                    student,
                    stage="during",
                    step=step,
                    right=answers[ref].right,
                    n_tokens=answers[ref].n_tokens,
                    loss=None,
                )
                for student, step, ref in copies
            ]
    return found


def _stored(client: Client, run: Run, *, prompt: str, last: int) -> Iterator[tuple[int, str]]:
    """Step and reference of each copy before the last step. Equal content is stored once."""
    kept = load(run.read(f"snapshots/{prompt}.safetensors"))
    name = f"{prompt.partition('@')[0]}-during"
    for step, vectors in zip(kept["steps"].tolist(), kept[TENSOR], strict=True):
        if step < last:
            stored = client.prompts.upload(name, tensors={TENSOR: vectors}, base=MODEL)
            yield step, f"{stored.name}@{stored.version}"


def _evaluated(
    client: Client, *, run: str, refs: list[str], count: CountTokens, finish: Callable[[Run], Run]
) -> dict[str, Answers]:
    """Answers by reference."""
    spec = {
        "model": MODEL,
        "prompts": refs,
        "dataset": STEPS,
        "metrics": ["exact_match"],
        "max_tokens": MAX_TOKENS,
    }
    job = Job(name=f"during-{run}", kind="evaluate", spec=spec, facts={"group": "during"})
    made = finish(client.runs.create("evaluate", spec, name=job.name))
    return {one.prior: one for one in read_answers(made, job=job, count=count)}
