"""TransformerLens' names are TransformerLens' tensors, on every architecture of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import Tensor

from service.engine.model.hosted_model import HostedModel
from service.errors import InvalidRequest
from tests.oracle.models import ARCHITECTURES, build_model, build_tokenizer
from tests.other_clients.clients_environment import FOLDER, SCRIPTS, Clients
from tests.other_clients.scripts.transformer_lens_names import LAYER, NAMES, TOKENS
from tests.service.engine.small_engine import capture, finish, result_of, with_limits

PARALLEL = ("gpt_neox", "phi", "cohere")
MIDDLE = f"blocks.{LAYER}.hook_resid_mid"
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def theirs(clients: Clients, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Tensor]:
    results: Path = tmp_path_factory.mktemp("lens") / "tensors.safetensors"
    clients.run([str(FOLDER / "bin" / "python"), str(SCRIPTS / "transformer_lens_names.py"), str(results)])
    return load_file(results)


def test_all_names_were_compared(theirs: Mapping[str, Tensor]) -> None:
    missing = {f"{architecture}/{name}" for architecture in ARCHITECTURES for name in NAMES} - set(theirs)
    assert missing == {f"{architecture}/{MIDDLE}" for architecture in PARALLEL}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_names_are_their_tensors(theirs: Mapping[str, Tensor], architecture: str) -> None:
    engine = with_limits(HostedModel("m", build_model(architecture), build_tokenizer(), revision=""))
    for name in NAMES:
        request = capture(name, inputs=(tuple(TOKENS),), sites=(name,), layers=(0,))
        if name == MIDDLE and architecture in PARALLEL:
            with pytest.raises(InvalidRequest, match="no module of this model has the tensor"):
                engine.submit(request)
            continue
        engine.submit(request)
        tensors = result_of(finish(engine), name).tensors
        (found,) = (tensor for tensor in tensors.values() if tensor.is_floating_point())
        expected = theirs[f"{architecture}/{name}"]
        if name.endswith("hook_pattern"):
            expected = expected.transpose(0, 1)
        difference = (found - expected.reshape(found.shape)).abs().max()
        assert difference <= TOLERANCE * expected.abs().max(), name
