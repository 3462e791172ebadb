"""Points of a map without a server: columns, selections, frames, plots."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from promptatlas import Client, Map, Points

from tests.clients.python.promptatlas.fake_maps import ID, POSITIONS, TEXTS, X, map_reply, placed_reply
from tests.clients.python.promptatlas.fake_server import FakeServer


@pytest.fixture
def atlas(client: Client, server: FakeServer) -> Map:
    server.will(map_reply())
    return client.maps.get(ID)


@pytest.fixture
def placed(atlas: Map, server: FakeServer) -> Points:
    server.will(placed_reply())
    return atlas.project(vectors=[[1.0, 2.0]])


def test_columns(atlas: Map) -> None:
    assert atlas.x.tolist() == X
    np.testing.assert_array_equal(
        atlas.coordinates, np.stack([X, np.negative(X)], axis=1).astype(np.float32), strict=True
    )
    assert atlas.z is None
    assert atlas.layer.tolist() == [0] * 5 + [3] * 5
    assert np.isnan(atlas.position[[0, 5]]).all()
    assert atlas.position[1:5].tolist() == POSITIONS[1:]
    for name, texts in TEXTS.items():
        assert getattr(atlas, name).tolist() == texts * 2
    assert repr(atlas) == (f"Map(id='{ID}', method='pca', n_points=10, layers=[0, 3], sources=['questions', 'tuned'])")


def test_selections(atlas: Map) -> None:
    chosen = atlas.where(layer=3, role=("draw", "posterior"))
    assert chosen.x.tolist() == [12, 14]
    assert repr(chosen) == "Points(n_points=2, layers=[3], sources=['tuned'])"
    assert atlas.where(task=None).x.tolist() == [x for x in X if x not in (0, 10)]
    assert atlas.where(prompt=[None, "qa@2"]).x.tolist() == [0, 10]
    assert atlas[atlas.source == "questions"].x.tolist() == [0, 1, 10, 11]
    assert atlas[2:4].role.tolist() == ["draw", "snapshot"]
    with pytest.raises(ValueError, match=r"expected one of the columns x, y, layer, position, source.*got 'weather'"):
        atlas.where(weather="fine")


def test_a_frame(atlas: Map) -> None:
    pytest.importorskip("pandas")
    frame = atlas.to_pandas()
    assert frame.columns.tolist() == ["x", "y", "layer", "position", *TEXTS]
    assert frame["position"].dtype == "Int64"
    assert frame["position"].isna().tolist() == [True, False, False, False, False] * 2
    assert frame.groupby("role")["x"].sum()["posterior"] == 18


def test_plots_have_a_colour_for_each_source_and_a_slider_over_layers(atlas: Map) -> None:
    pytest.importorskip("plotly")
    figure = atlas.plot()
    markers = [trace for trace in figure.data if trace.mode == "markers"]
    assert [(trace.name, trace.visible, list(trace.x)) for trace in markers] == [
        ("questions", True, [0, 1]),
        ("tuned", True, [2, 3, 4]),
        ("questions", False, [10, 11]),
        ("tuned", False, [12, 13, 14]),
    ]
    assert markers[0].marker.color == markers[2].marker.color != markers[1].marker.color
    assert markers[1].marker.symbol == ("circle-open", "circle", "diamond")
    assert {trace.type for trace in figure.data} == {"scatter"}
    assert figure.layout.title.text == "atlas"
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("x (50%)", "y (25%)")
    second = figure.layout.sliders[0].steps[1]
    assert second.label == "3"
    assert second.args[0]["visible"] == [trace.visible is False for trace in figure.data]
    assert second.args[1] == {"xaxis.title.text": "x (12%)", "yaxis.title.text": "y (6%)"}


def test_lines_go_through_the_points_of_a_group(atlas: Map) -> None:
    pytest.importorskip("plotly")
    figure = atlas.plot(layer=3)
    [line] = [trace for trace in figure.data if trace.mode == "lines"]
    np.testing.assert_array_equal(line.x, [12, 13, 14, np.nan])
    tuned = next(trace for trace in figure.data if trace.name == "tuned")
    assert (line.line.color, line.legendgroup) == (tuned.marker.color, "tuned")
    assert not figure.layout.sliders
    [mixed] = [trace for trace in atlas.plot(layer=3, color="role").data if trace.mode == "lines"]
    assert mixed.line.color == "rgba(128, 128, 128, 0.55)"
    assert {trace.mode for trace in atlas.plot(lines=False).data} == {"markers"}


def test_hovering_shows_text_and_token(atlas: Map) -> None:
    pytest.importorskip("plotly")
    shown = [text for trace in atlas.plot(layer=0).data if trace.mode == "markers" for text in trace.hovertext]
    assert shown[0] == "Wo ist &lt;Ana&gt;?<br>questions · state · where"
    assert shown[1] == "<b>&#x27; Ü&#x27;</b><br>Ü<br>questions · state 4 · under qa@1"
    assert shown[3] == "tuned · snapshot 20 · qa@1"


def test_numbers_have_a_colour_scale(atlas: Map) -> None:
    pytest.importorskip("plotly")
    figure = atlas.plot(color="position", layer=0)
    unknown, known = (trace for trace in figure.data if trace.mode == "markers")
    assert list(unknown.x) == [0]
    assert list(known.marker.color) == [4, -1, 20, -1]
    assert known.marker.coloraxis == "coloraxis"
    assert figure.layout.coloraxis.colorbar.title.text == "position"
    own = atlas.plot(color=np.arange(10), layer=3).data[-1]
    assert list(own.marker.color) == [5, 6, 7, 8, 9]
    with pytest.raises(ValueError, match=r"a value for each of 10 points, got \(3,\)"):
        atlas.plot(color=[1, 2, 3])


def test_the_rarest_of_many_categories_share_a_colour() -> None:
    pytest.importorskip("plotly")
    n = 40
    texts = np.full(n, None, object)
    points = Points(
        {
            **{axis: np.arange(n, dtype=np.float32) for axis in "xyz"},
            "layer": np.zeros(n, np.int32),
            "position": np.full(n, np.nan),
            **dict.fromkeys(("text", "token", "group", "task", "prompt"), texts),
            "source": np.array(["s"] * n, object),
            "role": np.array(["state"] * n, object),
        }
    )
    labels = ["common"] * 10 + [f"rare {at}" for at in range(30)]
    figure = points.plot(color=labels)
    assert [trace.name for trace in figure.data] == ["common", *(f"rare {at}" for at in range(23)), "others"]
    assert len(figure.data[-1].x) == 7
    assert {trace.type for trace in figure.data} == {"scatter3d"}
    assert figure.layout.scene.zaxis.title.text == "z"
    assert points.plot(color="task").data[0].name == "–"


def test_further_points_are_plotted_on_top(atlas: Map, placed: Points) -> None:
    pytest.importorskip("plotly")
    first, second = (trace for trace in atlas.plot(also=placed).data if trace.name == "vectors")
    assert (list(first.x), first.visible, list(second.x), second.visible) == ([0.5], True, [10.5], False)
    assert first.marker.symbol == "cross"


def test_many_points_use_webgl(atlas: Map, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("plotly")
    monkeypatch.setattr("promptatlas.results.maps.plots.MANY", 10)
    assert {trace.type for trace in atlas.plot().data} == {"scattergl"}


def test_a_map_of_three_dimensions(client: Client, server: FakeServer) -> None:
    pytest.importorskip("plotly")
    server.will(map_reply(n_axes=3))
    atlas = client.maps.get(ID)
    assert atlas.coordinates.shape == (10, 3)
    figure = atlas.plot()
    assert {trace.type for trace in figure.data} == {"scatter3d"}
    assert figure.layout.scene.xaxis.title.text == "x (50%)"
    assert figure.layout.sliders[0].steps[1].args[1]["scene.xaxis.title.text"] == "x (12%)"


def test_missing_layers_and_points(atlas: Map) -> None:
    pytest.importorskip("plotly")
    with pytest.raises(ValueError, match=r"layer: expected one of \[0, 3\], got 1"):
        atlas.plot(layer=1)
    with pytest.raises(ValueError, match="expected points to plot"):
        atlas.where(layer=1).plot()


@pytest.mark.parametrize(("missing", "extra"), [("plotly", "plots"), ("pandas", "pandas")])
def test_a_missing_package_is_named(atlas: Map, monkeypatch: pytest.MonkeyPatch, missing: str, extra: str) -> None:
    for name in {missing, "plotly.graph_objects"}:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"{missing}.*pip install 'promptatlas\[{extra}\]'"):
        atlas.plot() if missing == "plotly" else atlas.to_pandas()
