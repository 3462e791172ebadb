"""The runs of the experiment as values: their kinds, specs, and what their members are."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from demo.chains import N_HANDS
from demo.distillation.data import DIRECT, SHUFFLED, STEPS, WRONG
from demo.distillation.size import PARTS, MethodName, Part, PriorName, Size
from demo.scaffold import HEADERS, Task
from demo.study.priors import ISOTROPIC, Spec, activations_of, gaussian

MODEL: Final = "demo-steps"
MAX_TOKENS: Final = 24
"""A chain's steps have 17 tokens, with end of text."""
LAST_WORD: Final[Spec] = {"find": "pattern", "pattern": r"(\w+)\W*$"}
"""Where the answer of a text is."""
TEXT: Final = "Work it out step by step."
"""The text prior: an instruction of another task. The header of the teacher itself would be its solution."""
TRACES: Final[Mapping[Part, str]] = {"all steps": "traces", "half the tokens": "traces-brief", "the answer": "traces"}
TEACHERS: Final[Mapping[Part, Task]] = {
    "all steps": "chain-cot",
    "half the tokens": "chain-brief",
    "the answer": "chain-cot",
}
DATASETS: Final[Mapping[PriorName, str]] = {
    "direct": DIRECT,
    "steps": STEPS,
    "sums in steps": "demo-arithmetic-cot",
    "qa": "demo-qa",
}
KL: Final[Spec] = {"kind": "kl", "top_k": 32}
DEEP_LAYERS: Final = (0, -3, -2, -1)
STEERED: Final = (0, 1, 2, 3, 4, 5)

Kind = Literal["tune", "distill", "generate", "evaluate"]
Prompts = Mapping[str, Sequence[str]]
"""The prompts that earlier runs have made, by the name of the run."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run of the experiment.

    priors: labels of its priors, in order; members are priors × rates × seeds. facts: what its rows in the tables are.
    cost: its predicted time in arbitrary units.
    """

    name: str
    kind: Kind
    spec: Spec
    priors: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    cost: float = 1.0


def header(task: Task) -> str:
    """The header line of a task, as a context."""
    return f"{HEADERS[task][0]}\n"


def context_jobs() -> list[Job]:
    """Evaluations of the model without a prompt, and with each header in its context."""
    contexts: dict[str, Task | None] = {
        "bare": None,
        "result at once": "chain",
        "teacher": "chain-cot",
        "be brief": "chain-brief",
    }
    found = []
    for name, task in contexts.items():
        template = {"input": f"{'' if task is None else header(task)}{{input}}", "target": "{target}"}
        spec = {
            "model": MODEL,
            "prompts": [None],
            "dataset": STEPS,
            "metrics": ["exact_match"],
            "max_tokens": MAX_TOKENS,
            "template": template,
        }
        found.append(Job(name=f"context-{name}", kind="evaluate", spec=spec, facts={"group": "context", "what": name}))
    return found


def trace_jobs() -> list[Job]:
    """The teacher's greedy answers for all chains, with all steps and briefly."""
    return [
        Job(
            name=TRACES[part],
            kind="generate",
            spec={
                "model": MODEL,
                "dataset": STEPS,
                "name": TRACES[part],
                "context": header(TEACHERS[part]),
                "temperature": 0.0,
                "max_tokens": MAX_TOKENS,
                "answer": LAST_WORD,
            },
            facts={"group": "traces"},
        )
        for part in PARTS[:2]
    ]


def pilot_jobs(size: Size) -> list[Job]:
    """Students of all steps at several learning rates, by method."""
    found = []
    for method in size.methods:
        short = {"steps": max(1, size.steps // 2), "lr": list(size.rates[method])}
        spec = _student(size, name=f"pilot-{method}", method=method, part="all steps", rate=0.0, priors=[ISOTROPIC])
        spec |= {"seeds": [0], "optimizer": {**spec["optimizer"], **short}, "eval": {**spec["eval"], "n": 2}}
        found.append(_job(spec, kind="distill", priors=("isotropic",), facts={"group": "pilot", "method": method}))
    return found


def source_jobs(size: Size, *, rates: Mapping[str, float]) -> list[Job]:
    """Prompts of the tasks whose posteriors are priors. Those of chains are baselines as well."""
    found = []
    for method in (one for one in size.methods if one in rates):
        for task in size.sources(method):
            spec = {
                **_common(size, name=source_name(method, task), method=method, rate=rates[method]),
                "dataset": DATASETS[task],
                "priors": [ISOTROPIC],
            }
            facts = {"group": "source", "method": method, "what": task}
            found.append(_job(spec, kind="tune", priors=("isotropic",), facts=facts))
    return found


def source_name(method: MethodName, task: PriorName) -> str:
    """Name of the run that tunes the prompts of a task."""
    return f"source-{method}-{task.replace(' ', '-')}"


def baseline_jobs(size: Size, *, rates: Mapping[str, float]) -> list[Job]:
    """Soft students of the teacher's traces by other losses and targets, and the controls."""
    # Stepwise internalisation has removed all steps after 70 % of the training.
    epochs = 0.7 * size.steps * size.batch_size / size.n_train
    teacher = {"dataset": TRACES["all steps"], "context": header("chain-cot")}
    changes: dict[str, Spec] = {
        "sequence": {"teacher": {"dataset": TRACES["all steps"]}, "loss": [{"kind": "sequence"}]},
        "KL, half of it on-policy": {"teacher": teacher, "loss": [KL], "on_policy": 0.5},
        "curriculum": {
            "teacher": {"dataset": TRACES["all steps"]},
            "loss": [{"kind": "sequence"}],
            "target": {"part": {"remove_per_epoch": N_HANDS / epochs, "from": "start"}},
        },
        "half cut off": {"teacher": teacher, "loss": [KL], "target": {"part": {"tokens": 0.5, "from": "start"}}},
        "shuffled": {"teacher": {"dataset": SHUFFLED}, "loss": [{"kind": "sequence"}]},
        "wrong": {"teacher": {"dataset": WRONG}, "loss": [{"kind": "sequence"}]},
    }
    found = []
    for label in size.baselines:
        name = "baseline-" + label.lower().replace(",", "").replace(" ", "-")
        spec = {
            **_common(size, name=name, method="soft", rate=rates["soft"]),
            "dataset": STEPS,
            "priors": [ISOTROPIC],
            **changes[label],
        }
        facts = {"group": "baseline", "method": "soft", "what": label}
        found.append(_job(spec, kind="distill", priors=("isotropic",), facts=facts))
    return found


def student_jobs(size: Size, *, rates: Mapping[str, float], prompts: Prompts) -> list[Job]:
    """The students: methods with a rate × parts of the traces, each from all priors whose prompts there are."""
    found = []
    for method in (one for one in size.methods if one in rates):
        drawn: MethodName = "soft" if method == "prefix" else method
        priors = {
            name: prior
            for name in size.priors_of(method)
            if (prior := _prior(name, prompts=prompts.get(source_name(drawn, name), ()))) is not None
        }
        for part in PARTS:
            name = f"student-{method}-{part.replace(' ', '-')}"
            spec = _student(size, name=name, method=method, part=part, rate=rates[method], priors=[*priors.values()])
            facts = {"group": "student", "method": method, "what": part}
            found.append(_job(spec, kind="distill", priors=tuple(priors), facts=facts))
    return sorted(found, key=lambda job: PARTS.index(job.facts["what"]))


def capacity_jobs(size: Size, *, rates: Mapping[str, float]) -> list[Job]:
    """Longer trained students of the answer: fewer and more vectors, or vectors at one layer only, at the better of two rates."""
    found = [
        _capacity(size, name=f"width-{n}", rate=rates["soft"], method={"kind": "soft", "n_virtual": n})
        for n in size.widths
    ]
    for layer in size.layers:
        method = {"kind": "deep", "n_virtual": size.n_virtual, "layers": [layer], "where": "carried"}
        rate = list(size.deep_rates) if layer else rates["soft"]
        found.append(_capacity(size, name=f"layer-{layer}", rate=rate, method=method))
    return found


def _capacity(size: Size, *, name: str, rate: float | list[float], method: Spec) -> Job:
    spec = _student(size, name=name, method="soft", part="the answer", rate=0.0, priors=[ISOTROPIC])
    spec |= {
        "method": method,
        "optimizer": {**spec["optimizer"], "lr": rate, "steps": size.longer},
        "seeds": list(size.seeds[:2]),
    }
    facts = {"group": "capacity", "method": method["kind"], "what": name}
    return _job(spec, kind="distill", priors=("isotropic",), facts=facts)


def _student(
    size: Size, *, name: str, method: MethodName, part: Part, rate: float, priors: Sequence[Spec]
) -> dict[str, Any]:
    return {
        **_common(size, name=name, method=method, rate=rate),
        "dataset": STEPS,
        "priors": list(priors),
        "teacher": {"dataset": TRACES[part], "context": header(TEACHERS[part])},
        "loss": [KL],
        **({"target": {"part": "answer", "answer": LAST_WORD}} if part == "the answer" else {}),
    }


def _common(size: Size, *, name: str, method: MethodName, rate: float) -> dict[str, Any]:
    return {
        "model": MODEL,
        "name": name,
        "method": _method(method, size=size),
        "seeds": list(size.seeds),
        "optimizer": {"lr": rate, "steps": size.steps, "batch_size": size.batch_size},
        "eval": {"every": size.every, "n": size.n_test, "metrics": ["exact_match"], "max_tokens": MAX_TOKENS},
        "snapshots": size.n_snapshots,
    }


def _method(method: MethodName, *, size: Size) -> Spec:
    if method == "steering":
        return {"kind": "steering", "layers": list(STEERED)}
    deep = {"layers": list(DEEP_LAYERS), "where": "local"} if method == "deep" else {}
    return {"kind": method, "n_virtual": size.n_virtual, **deep}


def _prior(name: PriorName, *, prompts: Sequence[str]) -> Spec | None:
    """None: the prompts that it is fitted to do not exist."""
    if name == "isotropic":
        return ISOTROPIC
    if name == "text":
        return {"kind": "text", "text": TEXT}
    if name == "fitted":
        return gaussian(activations_of(DIRECT))
    return {"kind": "posterior", "prompts": list(prompts)} if prompts else None


def _job(spec: Spec, *, kind: Kind, priors: Iterable[str], facts: Mapping[str, Any]) -> Job:
    labels = tuple(priors)
    rates = spec["optimizer"]["lr"]
    n_members = len(labels) * len(spec["seeds"]) * (len(rates) if isinstance(rates, list) else 1)
    training = spec["optimizer"]["steps"] * spec["optimizer"]["batch_size"]
    # An evaluated answer costs as much as about two examples of a training step; draws are evaluated as well.
    cost = n_members * (training + 4 * spec["eval"]["n"]) / 1000
    return Job(name=spec["name"], kind=kind, spec=spec, priors=labels, facts=facts, cost=cost)
