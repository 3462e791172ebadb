from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from promptatlas import Curves
from promptatlas.types import MetricPoint

from tests.clients.python.promptatlas.fake_runs import POINTS


@pytest.fixture
def curves() -> Curves:
    return Curves([MetricPoint.model_validate(point) for point in POINTS])


def test_names_and_members(curves: Curves) -> None:
    assert curves.names == ["loss", "validation_loss", "n_tokens"]
    assert curves.members == ["a", "b", None]
    assert (len(curves), curves[2].step, [point.step for point in curves[:2]]) == (5, 10, [0, 0])
    assert "n_points=5" in repr(curves)


def test_one_curve(curves: Curves) -> None:
    steps, values = curves.curve("loss", member="b")
    np.testing.assert_array_equal(steps, [0, 10])
    np.testing.assert_array_equal(values, [3.0, np.nan])
    assert (steps.dtype.name, values.dtype.name) == ("int64", "float64")
    np.testing.assert_array_equal(curves.curve("n_tokens")[1], [640])
    assert list(curves.curves("n_tokens")) == ["run"]
    with pytest.raises(KeyError, match=r"no 'lr' of member 'a'; there are \['loss'"):
        curves.curve("lr", member="a")


def test_a_frame(curves: Curves) -> None:
    pytest.importorskip("pandas")
    frame = curves.pandas()
    assert list(frame.columns) == ["step", "member", "loss", "validation_loss", "n_tokens"]
    assert frame[frame.member == "a"].loss.tolist() == [4.0, 2.5]
    assert list(Curves([]).pandas().columns) == ["step", "member"]


def test_plotly(curves: Curves) -> None:
    pytest.importorskip("plotly")
    figure = curves.plot(backend="plotly", title="sweep")
    assert [(line.name, next(iter(line.y))) for line in figure.data] == [("a", 4.0), ("b", 3.0)]
    assert (figure.layout.yaxis.title.text, figure.layout.title.text) == ("loss", "sweep")


def test_the_installed_backend_is_used(curves: Curves, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("plotly")
    found = importlib.util.find_spec

    def without(*missing: str) -> Any:
        return lambda name, *more: None if name in missing else found(name, *more)

    monkeypatch.setattr(importlib.util, "find_spec", without("matplotlib"))
    assert type(curves.plot()).__module__.startswith("plotly")
    with pytest.raises(ImportError, match="expected matplotlib to be installed"):
        curves.plot(backend="matplotlib")
    monkeypatch.setattr(importlib.util, "find_spec", without("matplotlib", "plotly"))
    with pytest.raises(ImportError, match="expected matplotlib or plotly to be installed"):
        curves.plot()


def test_invalid_plots(curves: Curves) -> None:
    with pytest.raises(KeyError, match="no 'lr' in this run; there are"):
        curves.plot("lr")
    with pytest.raises(KeyError, match="no metrics yet"):
        Curves([]).plot()
    with pytest.raises(ValueError, match="backend: expected one of matplotlib, plotly, got 'ascii'"):
        curves.plot(backend="ascii")  # type: ignore[arg-type]
