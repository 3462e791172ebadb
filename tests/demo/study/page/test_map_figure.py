from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from matplotlib.image import imread
from promptatlas import Client

from demo.study.page.map_figure import draw_map, save_maps
from tests.demo.study.page.records import RECORD


class FakePoints:
    """The columns of a map, and the selection of points, as the SDK has them."""

    def __init__(self, columns: Mapping[str, Any], *, layers: list[int]) -> None:
        self.columns = {name: np.asarray(values) for name, values in columns.items()}
        self.layers, self.method = layers, "pca"
        self.sources = list(dict.fromkeys(columns["source"]))

    def __getattr__(self, name: str) -> Any:
        return self.columns[name]

    def __len__(self) -> int:
        return len(self.columns["x"])

    def where(self, **wanted: Any) -> FakePoints:
        mask = np.ones(len(self), bool)
        for name, value in wanted.items():
            mask &= np.isin(self.columns[name], value if isinstance(value, tuple) else (value,))
        return FakePoints({name: column[mask] for name, column in self.columns.items()}, layers=self.layers)


def points(layers: list[int], *, n_states: int = 10) -> FakePoints:
    """At every layer: 40 tokens of the vocabulary at layer 0, some states, and one vector from draw to posterior."""
    rng = np.random.default_rng(0)
    rows = [
        {"x": x, "y": y, "layer": layer, "source": source, "role": role, "group": group}
        for layer in layers
        for source, role, group, n in (
            ("vocabulary", "embedding", None, 40 if layer == 0 else 0),
            ("squad", "state", None, n_states),
            ("soft", "draw", "a@1 0", 1),
            ("soft", "posterior", "a@1 0", 1),
        )
        for x, y in rng.normal(size=(n, 2))
    ]
    return FakePoints(
        {name: np.array([row[name] for row in rows], object if name == "group" else None) for name in rows[0]},
        layers=layers,
    )


@pytest.mark.parametrize("layers", [[0], [0, 10, 20]])
def test_there_is_a_panel_for_each_layer(layers: list[int]) -> None:
    figure = draw_map(points(layers))
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in shown] == [f"pca, layer {layer}" for layer in layers]
    assert shown[0].get_legend_handles_labels()[1] == ["squad", "soft"]
    n_points = [sum(np.asarray(drawn.get_offsets()).shape[0] for drawn in axes.collections) for axes in shown]
    assert n_points == [51, 11, 11][: len(layers)]
    assert [len(axes.lines) for axes in shown] == [1] * len(layers)


def test_an_outlier_does_not_decide_the_limits() -> None:
    found = points([0], n_states=3000)
    found.columns["x"] = np.concatenate([np.linspace(0, 1, len(found) - 1), [1e4]])
    low, high = draw_map(found).axes[0].get_xlim()
    assert -1 < low < high < 1e4


def test_every_map_of_the_record_is_drawn(tmp_path: Path) -> None:
    client = SimpleNamespace(maps=SimpleNamespace(get=lambda run_id: points([0]) if run_id == "run-2" else None))
    paths = save_maps(cast(Client, client), record=RECORD, folder=tmp_path)
    assert [path.name for path in paths] == ["map-pca.png"]
    assert imread(paths[0])[..., :3].std() > 0.01
