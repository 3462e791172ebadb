"""SAELens trains a sparse autoencoder on a harvest."""

from __future__ import annotations

import json

import pytest
from promptatlas import Client

from tests.other_clients.clients_environment import ROOT, SAE_FOLDER, SCRIPTS, Clients
from tests.other_clients.conftest import D_MODEL
from tests.other_clients.scripts.report import MODEL

TENSOR = "resid_post.3"


def test_a_sparse_autoencoder_learns_from_a_harvest(clients: Clients) -> None:
    if not (SAE_FOLDER / ".ready").exists():
        pytest.skip(f"there is no environment of SAELens in {SAE_FOLDER.name}: run make clients, with a package source")
    folder, results = clients.folder / "harvest", clients.folder / "sae.json"
    with Client(clients.url, api_key=clients.key, progress=False) as client:
        run = client.harvest.create(
            model=MODEL, dataset="demo-text", n=60, sites=["resid_post"], layers=[3], shard_bytes=1 << 18
        )
        run.wait(progress=False, timeout_s=120)
        run.download_all(to=folder)
    script = str(SCRIPTS / "sae_lens_training.py")
    # The SDK is not installed in the environment.
    path = str(ROOT / "clients" / "python")
    command = [
        "env",
        f"PYTHONPATH={path}",
        str(SAE_FOLDER / "bin" / "python"),
        script,
        str(folder),
        TENSOR,
        str(results),
    ]
    clients.run(command)
    found = json.loads(results.read_text())
    assert found["d_in"] == D_MODEL
    assert found["after"] < 0.5 * found["before"]
