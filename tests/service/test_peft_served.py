"""A PEFT adapter, saved by PEFT, imported and served: the engine's log-probabilities and tokens are PEFT's own."""

from __future__ import annotations

import copy
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model

from service.engine.engine import Engine
from service.engine.inputs import PromptChoice
from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt, from_tensors
from service.engine.requests import Delta, Generate, Limits, Sampling
from service.store.prompts.checks import BaseShape
from service.store.prompts.peft.reading import parse_peft
from tests.oracle.models import build_model

TEXT = (9, 33, 60, 2, 77, 41, 5)
N_NEW = 6
ALIKE = {"task_type": "CAUSAL_LM", "num_virtual_tokens": 4}
CONFIGS = {
    "prompt": lambda: PromptTuningConfig(**ALIKE),
    "p-tuning": lambda: PromptEncoderConfig(**ALIKE, encoder_hidden_size=17),
    "prefix": lambda: PrefixTuningConfig(**ALIKE),
    "prefix-projected": lambda: PrefixTuningConfig(**ALIKE, prefix_projection=True, encoder_hidden_size=19),
}


def tuned(plain: Any, method: str) -> Any:
    torch.manual_seed(5)
    model = get_peft_model(copy.deepcopy(plain), CONFIGS[method]())
    with torch.no_grad():
        for parameter in model.prompt_encoder.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return model.eval()


def imported(adapter: Any, hosted: HostedModel, folder: Path) -> Prompt:
    adapter.save_pretrained(folder)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    card = hosted.card
    base = BaseShape(
        name="m",
        revision=card.revision,
        n_layers=card.n_layers,
        d_model=card.d_model,
        n_kv_heads=card.n_kv_heads,
        d_head=card.d_head,
        n_positions=card.n_positions,
    )
    stored = parse_peft(buffer.getvalue(), bases=[base])
    return from_tensors({name: torch.from_numpy(values.copy()) for name, values in stored.tensors.items()})


@pytest.mark.parametrize("method", CONFIGS)
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_an_imported_adapter_gives_pefts_own_numbers(architecture: str, method: str, tmp_path: Path) -> None:
    plain = build_model(architecture)
    adapter = tuned(plain, method)
    hosted = HostedModel("m", copy.deepcopy(plain), None, revision="r")
    prompt = imported(adapter, hosted, tmp_path)
    engine = Engine(hosted, limits=Limits(), load_prompt=lambda _: prompt)
    engine.submit(
        Generate(
            request_id="g",
            inputs=(TEXT,),
            max_tokens=N_NEW,
            sampling=Sampling(temperature=0),
            logprobs=0,
            echo=True,
            prompt=PromptChoice(parts=(("adapter", 1.0),)),
        )
    )
    events = []
    while engine.has_work:
        events += engine.step()
    delta = next(event for event in events if isinstance(event, Delta))

    known = list(TEXT)
    with torch.no_grad():
        for token in delta.token_ids[len(TEXT) :]:
            logits = adapter(input_ids=torch.tensor([known])).logits[0, -1]
            assert int(logits.argmax()) == token
            known.append(token)
        logits = adapter(input_ids=torch.tensor([known])).logits[0, -len(known) :]
    expected = logits.log_softmax(-1)[torch.arange(len(known) - 1), torch.tensor(known[1:])]
    got = torch.tensor([scored.logprob for scored in delta.logprobs[1:]])
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)
