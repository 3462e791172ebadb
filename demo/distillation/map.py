"""The map of soft prompts at the token embeddings: those of the direct task and of the steps, and the students."""

from collections.abc import Callable

from promptatlas import Client, Run

from demo.distillation.jobs import MODEL, source_name
from demo.distillation.record import Record
from demo.distillation.size import PARTS

VOCABULARY = "vocabulary"


def groups(record: Record) -> dict[str, list[str]]:
    """Prompts by their label on the map: sources, and the isotropic students of each part."""
    found = {}
    for task in record.size.sources("soft"):
        done = record.runs.get(source_name("soft", task))
        if done is not None:
            found[f"tuned: {task}"] = list(done.prompts)
    for part in PARTS:
        name = f"student-soft-{part.replace(' ', '-')}"
        if name in record.runs:
            n = len(record.size.seeds)
            found[f"student: {part}"] = list(record.runs[name].prompts[:n])
    return found


def read_map(client: Client, *, record: Record, finish: Callable[[Run], Run]) -> dict[str, list[list[float]]]:
    """Coordinates `[n, 2]` of each group's vectors, and of a sample of the vocabulary, by principal components."""
    prompts = groups(record)
    if not prompts:
        return {}
    sources = [
        {"embeddings": VOCABULARY, "n": record.size.n_map, "name": VOCABULARY},
        *({"prompts": refs, "draws": False, "name": name} for name, refs in prompts.items()),
    ]
    fitted = finish(client.maps.make(model=MODEL, sources=sources, layers=[0], run_name="distillation")).map()
    return {
        name: [[round(float(x), 4) for x in point] for point in fitted.coordinates[fitted.source == name]]
        for name in (VOCABULARY, *prompts)
    }
