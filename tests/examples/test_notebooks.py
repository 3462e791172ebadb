"""The notebooks under examples/ run as they are, from the first cell to the last, against a real service with a worker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.queueing.embedded_redis import find_server
from tests.integration.running import ROOT, Service, running_service

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

FOLDER = ROOT / "examples" / "notebooks"
PLOTLY = "application/vnd.plotly.v1+json"
# Not how long they should take, but when to give up on a machine that is busy with other things.
CELL_S, NOTEBOOK_S = 500, 580

# What must hold at the end of each, in its own names, and how many maps it shows.
CHECKS = {
    "distillation": (
        "assert students.shape == (12, 5) and students['accuracy'].between(0, 1).all(), students\n"
        "assert (students['kl'] >= 0).all() and (students['tokens'] > 0).all(), students",
        0,
    ),
    "probing": (
        "assert abs(scores['bare'][0] - most_frequent) < 0.1, scores\n"
        "assert scores['bare'].iloc[-1] > most_frequent + 0.3 > scores['labels shuffled'].max(), scores",
        0,
    ),
    "priors_and_posteriors": (
        "assert pd.DataFrame(measured).loc['exact_match'].min() > 0.5, measured\n"
        "assert (went.to_numpy().argmin(1) == range(3)).all(), went\n"
        "assert set(atlas.role) == {'embedding', 'state', 'draw', 'snapshot', 'posterior'}\n"
        "assert answer.choices[0].text.startswith(item.target)",
        2,
    ),
    "trajectories": (
        "assert table.shape == (card.n_layers, 6) and table.notna().all(axis=None), table\n"
        "assert table['against its own task'].sub(1).abs().max(axis=None) < 0.5, table\n"
        "assert len(set(atlas.where(source='sums').group)) == 4\n"
        "assert len(first) > 5 and (first.position[1:] > first.position[:-1]).all()",
        3,
    ),
    "tasks": (
        "assert (separation['p_value'] <= 0.05).all() and (separation['probe'] > 0.5).all(), separation\n"
        "assert len(atlas) == 3 * len(DATASETS) * N_TEXTS",
        1,
    ),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    if find_server() is None:
        pytest.skip("no redis-server here")
    folder = tmp_path_factory.mktemp("service")
    with running_service(folder, models=f"demo={ROOT / 'demo' / 'model'}", WORKERS="1", DEVICE="cpu") as started:
        started.wait_until_ready()
        yield started


@pytest.mark.parametrize("name", sorted(CHECKS))
@pytest.mark.timeout(NOTEBOOK_S + 120)
def test_a_notebook_runs(name: str, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    here = tmp_path / "here"
    here.mkdir()
    check, n_maps = CHECKS[name]
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(check))
    place = {"metadata": {"path": str(here)}}
    client = nbclient.NotebookClient(notebook, timeout=CELL_S, kernel_name="python3", resources=place)
    client.execute(env=environ(service, tmp_path))
    shown = [kind for cell in notebook.cells for output in cell.get("outputs", ()) for kind in output.get("data", ())]
    assert shown.count(PLOTLY) == n_maps
    assert list(here.iterdir()) == []


def environ(service: Service, folder: Path) -> dict[str, str]:
    """The environment of a notebook: it knows the service, and leaves nothing behind."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PROMPTATLAS_")}
    ours = {"PROMPTATLAS_URL": service.url, "IPYTHONDIR": str(folder / "ipython"), "OMP_NUM_THREADS": "1"}
    return {**clean, **ours, "PYTHONPATH": str(ROOT / "clients" / "python")}


def test_every_notebook_is_checked() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(CHECKS)


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_a_notebook_is_kept_without_outputs(name: str) -> None:
    notebook: Any = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
