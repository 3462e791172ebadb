"""Shapes and types of the priors are checked at run time here, as the engine's are; clouds that the tests share."""

from __future__ import annotations

import pytest
import torch
from jaxtyping import install_import_hook

# The checker that the tests' root has put in place for the engine.
install_import_hook("workers.priors", "engine_annotations.checked")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
