"""The study of SmolLM2-135M-Instruct on real datasets, whose results are ``docs/findings-smollm2.md``."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from promptatlas.types import ModelCard

from demo.models.smollm2 import PATH, fetch
from demo.study.data import StudyData
from demo.study.plan import (
    DOCS,
    PICTURES,
    Kind,
    MapJob,
    Pilot,
    Size,
    StudyPlan,
    Tuning,
    deep_method,
    soft_method,
    tuning,
)
from demo.study.priors import (
    ISOTROPIC,
    TOKENS,
    VOCABULARY,
    XAVIER,
    Spec,
    activations_of,
    embeddings_of,
    exclusion,
    gaussian,
    interpolation,
    vae,
)

MODEL: Final = "smollm2"
QA, ARITHMETIC, TEXT, CLOZE, CHAINS = "squad", "arithmetic", "wikitext-2", "wikitext-2-cloze", "gsm8k"
DATASETS: Final = (QA, ARITHMETIC, TEXT, CLOZE, CHAINS)
TASKS: Final = {"arithmetic": ARITHMETIC, "squad": QA}
"""Arithmetic first: its inputs are the shortest, so an interrupted study has results of most runs."""

RATE: Final = 5e-3
SLOW: Final = 1e-3
"""The rates of the paper. The first one is the main rate, since few steps at the second hardly move a vector."""

SOFT_SEARCHED: Final = (1e-3, 5e-3, 2e-2, 5e-2, 1e-1)
DEEP_SEARCHED: Final = (5e-3, 5e-2, 2e-1, 1.0, 5.0)
LONGER: Final = 5
"""A run with 5 times the steps at a fifth of the rate tests whether steps times rate decides the distance."""

N_DEEP: Final = 3
WIDE: Final = 16.0

FULL: Final = Size(steps=300, every=25, batch_size=8, n=64, n_validation=24, n_map=40, n_trajectories=50)
"""8 examples a step: how far a vector moves depends on the number of steps, and their time on the number of examples."""
BRIEF: Final = Size(
    steps=40,
    every=7,
    batch_size=4,
    n=32,
    n_validation=12,
    n_report=120,
    n_map=30,
    n_trajectories=30,
    max_context=40,
    is_brief=True,
)
"""For CPUs without instructions for bfloat16, on which a step in float32 takes three times as long or longer."""
TINY: Final = Size(
    steps=2,
    n_virtual=2,
    batch_size=2,
    seeds=(0, 1),
    every=1,
    n=4,
    n_validation=4,
    n_report=20,
    n_map=8,
    n_trajectories=4,
    samples=99,
    n_fit=8,
    vae_epochs=1,
)
"""A smoke test of the study's code; its numbers have no meaning."""


def soft_priors(size: Size) -> tuple[Spec, ...]:
    """The priors of soft prompts."""
    return (
        ISOTROPIC,
        XAVIER,
        TOKENS,
        gaussian(VOCABULARY),
        gaussian(embeddings_of(TEXT, n=size.n_fit)),
        exclusion(VOCABULARY),
        interpolation(embeddings_of(ARITHMETIC, n=size.n_fit), embeddings_of(TEXT, n=size.n_fit)),
        vae(embeddings_of(TEXT, n=size.n_fit), epochs=size.vae_epochs),
        gaussian(VOCABULARY, scale=WIDE),
    )


def deep_priors(size: Size) -> tuple[Spec, ...]:
    """The priors of deep prompts; ``fit`` means the states at each vector's own layer."""
    return (
        ISOTROPIC,
        XAVIER,
        gaussian(activations_of(TEXT, n=size.n_fit)),
        exclusion(activations_of(TEXT, n=size.n_fit)),
        interpolation(activations_of(ARITHMETIC, n=size.n_fit), activations_of(TEXT, n=size.n_fit)),
        vae(activations_of(TEXT, n=size.n_fit), epochs=size.vae_epochs),
        gaussian(activations_of(TEXT, n=size.n_fit), scale=WIDE),
    )


def few(priors: Sequence[Spec], *labels: str) -> tuple[Spec, ...]:
    """The priors of some kinds, the wide one excluded unless ``wide`` is among them."""
    return tuple(prior for prior in priors if ("wide" if prior.get("scale", 1.0) > 1 else prior["kind"]) in labels)


def last_layers(card: ModelCard) -> list[int]:
    """The layers of deep prompts: the last three."""
    return list(range(max(1, card.n_layers - N_DEEP), card.n_layers))


def pilots(size: Size, card: ModelCard) -> Sequence[Pilot]:
    """Isotropic draws at several rates. Their prompts are not in the report, which has the same draws at the chosen rates."""
    soft, deep = soft_method(size), deep_method(size, layers=last_layers(card))

    def searched(name: str, *, data: str, method: Spec, rates: Sequence[float]) -> Tuning:
        seeds = size.seeds[:1]
        return tuning(
            name,
            model=MODEL,
            dataset=data,
            method=method,
            priors=(ISOTROPIC,),
            lr=rates,
            size=size,
            seeds=seeds,
            in_report=False,
        )

    of_soft = [
        searched(f"pilot-soft-{task}", data=data, method=soft, rates=SOFT_SEARCHED) for task, data in TASKS.items()
    ]
    if size.is_brief:
        of_soft = of_soft[:1]
    of_deep = searched("pilot-deep-arithmetic", data=ARITHMETIC, method=deep, rates=DEEP_SEARCHED)
    return [Pilot(kind="soft", tunings=tuple(of_soft)), Pilot(kind="deep", tunings=(of_deep,))]


def tunings(size: Size, rates: Mapping[Kind, float], card: ModelCard) -> Sequence[Tuning]:
    """All tuning runs, those that most findings need first."""
    soft, deep = soft_method(size), deep_method(size, layers=last_layers(card))
    with_embeddings = deep_method(size, layers=[0, *last_layers(card)])
    every, deep_every = soft_priors(size), deep_priors(size)
    main = few(every, "isotropic", "vocabulary", "gaussian", "interpolation", "wide")
    slow = few(every, "isotropic", "vocabulary", "wide")
    of_squad = few(every, "isotropic", "vocabulary", "interpolation", "wide") if size.is_brief else every
    found = [
        _run("soft-arithmetic", data=ARITHMETIC, method=soft, priors=every, lr=RATE, size=size),
        _run("deep-arithmetic-best", data=ARITHMETIC, method=deep, priors=deep_every, lr=rates["deep"], size=size),
        _run("soft-squad", data=QA, method=soft, priors=of_squad, lr=RATE, size=size),
    ]
    on_squad = _run("deep-squad-best", data=QA, method=deep, priors=deep_every, lr=rates["deep"], size=size)
    on_arithmetic = _arithmetic(size, rates=rates, deep=deep, with_embeddings=with_embeddings)
    # Within a short limit, several rates on one task show more than deep prompts on both.
    found += [*on_arithmetic, on_squad] if size.is_brief else [on_squad, *on_arithmetic]
    for task, data in TASKS.items():
        if rates["soft"] not in (RATE, SLOW):
            name = f"soft-{task}-best"
            found.append(_run(name, data=data, method=soft, priors=main, lr=rates["soft"], size=size))
    found.append(_run("soft-squad-slow", data=QA, method=soft, priors=slow, lr=SLOW, size=size))
    return found


def _arithmetic(size: Size, *, rates: Mapping[Kind, float], deep: Spec, with_embeddings: Spec) -> list[Tuning]:
    """Runs on the task with the shortest inputs alone: low rates, more steps, and vectors at the token embeddings."""
    every = soft_priors(size)
    deep_few = few(deep_priors(size), "isotropic", "gaussian", "interpolation")
    # Deep prompts at the paper's rates, without and with vectors at the token embeddings.
    deep_rates = [rate for rate in (SLOW, RATE) if rate != rates["deep"]]
    longer = replace(size, steps=LONGER * size.steps, every=LONGER * size.every)
    slow, pair = few(every, "isotropic", "vocabulary", "wide"), few(every, "isotropic", "wide")
    soft = soft_method(size)

    def run(name: str, *, method: Spec, priors: Sequence[Spec], lr: float | Sequence[float]) -> Tuning:
        return _run(name, data=ARITHMETIC, method=method, priors=priors, lr=lr, size=size)

    return [
        run("soft-arithmetic-slow", method=soft, priors=slow, lr=SLOW),
        _run("soft-arithmetic-longer", data=ARITHMETIC, method=soft, priors=pair, lr=SLOW, size=longer, n_seeds=1),
        run("deep-arithmetic", method=deep, priors=deep_few, lr=deep_rates),
        run("deep-arithmetic-embeddings", method=with_embeddings, priors=deep_few, lr=RATE),
    ]


def map_layers(card: ModelCard) -> list[int]:
    """The first, the last, and two layers between: 0, 10, 20 and 29 of 30."""
    last = card.n_layers - 1
    return sorted({0, card.n_layers // 3, 2 * card.n_layers // 3, last})


def report_layers(card: ModelCard) -> list[int]:
    """Every third layer, and the last one: distances of all pairs of tokens at all layers would take longer than the tunings."""
    return sorted({*range(0, card.n_layers, 3), card.n_layers - 1})


def maps(size: Size, card: ModelCard, prompts: Mapping[str, Sequence[str]]) -> Sequence[MapJob]:
    """The vocabulary, the tasks and the prompts of a study, by PCA and by t-SNE, at four layers."""
    tasks = [{"dataset": name, "n": size.n_map, "per": "token"} for name in (QA, ARITHMETIC, TEXT, CHAINS)]
    followed = {"trajectories": {"dataset": CHAINS, "n": 5, "max_tokens": 24}, "name": "trajectories"}
    shown = [
        {"prompts": list(refs), "snapshots": True, "name": name}
        for name in ("soft-arithmetic", "soft-squad", "deep-arithmetic-best")
        if (refs := prompts.get(name))
    ]
    sources = [{"embeddings": "vocabulary"}, *tasks, followed, *shown]
    spec = {"model": MODEL, "layers": map_layers(card), "sources": sources}
    methods = ("pca",) if size.is_brief else ("pca", "tsne")
    return [MapJob(name=f"map-{method}", spec={**spec, "method": method}) for method in methods]


def _run(
    name: str,
    *,
    data: str,
    method: Spec,
    priors: Sequence[Spec],
    lr: float | Sequence[float],
    size: Size,
    n_seeds: int | None = None,
) -> Tuning:
    seeds = size.seeds[:n_seeds]
    return tuning(name, model=MODEL, dataset=data, method=method, priors=priors, lr=lr, size=size, seeds=seeds)


SMOLLM2: Final = StudyPlan(
    name="smollm2",
    title="The paper's findings on SmolLM2-135M-Instruct",
    model=MODEL,
    weights=PATH,
    fetch=fetch,
    datasets=DATASETS,
    data=StudyData(),
    page=DOCS / "findings-smollm2.md",
    pictures=PICTURES / "findings-smollm2",
    full=FULL,
    tiny=TINY,
    brief=BRIEF,
    budget_minutes=330.0,
    pilots=pilots,
    tunings=tunings,
    maps=maps,
    report_layers=report_layers,
    with_reasons=True,
    chat_layers=map_layers,
    # One worker with all cores: the matrices of this model are large enough for two threads.
    environ={"PROMPTATLAS_WORKERS": "1"},
)
