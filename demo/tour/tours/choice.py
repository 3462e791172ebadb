"""The tour for the value of `--model`."""

from pathlib import Path
from typing import Final

from demo.tour.tour import Size, Tour
from demo.tour.tours.demo_model import demo_tour
from demo.tour.tours.smollm2 import real_tour, smollm2_tour

DEMO: Final = "demo"
SMOLLM2: Final = "smollm2"
HOSTED: Final = "model"
"""Name of a model that is given as a path."""


def choose(model: str, *, size: Size, data: Path) -> Tour:
    """The tour of a model: `demo`, `smollm2`, or the path of a folder or GGUF file, which has the tour on real data.

    Raises:
        ValueError: the model is neither.
        MissingData: files of the real data are missing.
        NotFetched: the model is missing and could not be downloaded.
    """
    if model == DEMO:
        return demo_tour(size)
    if model == SMOLLM2:
        return smollm2_tour(size, data=data)
    path = Path(model)
    if not path.exists():
        raise ValueError(f"expected {DEMO}, {SMOLLM2} or the path of a model, got {model!r}")
    return real_tour(size, data=data, path=path, model=HOSTED)
