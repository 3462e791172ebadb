"""TransformerLens as a process: a line of JSON with texts on the standard input, a file of states as the answer.

``python lens_process.py MODEL N_THREADS LAYER FOLDER``, with the interpreter of ``make clients``. Needs nothing
of this project. Each answer is the name of a safetensors file in FOLDER with ``states`` `[n_texts, d_model]`, those after block
LAYER at the last token.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer


def load(folder: str) -> Any:
    """The bfloat16 model in TransformerLens."""
    from transformer_lens.model_bridge import TransformerBridge

    module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    module.config.architectures = [type(module).__name__]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return TransformerBridge.boot_transformers(folder, hf_model=module, tokenizer=tokenizer, dtype=torch.bfloat16)


@torch.inference_mode()
def states_of(bridge: Any, texts: list[list[int]], *, layer: int, n_batch: int) -> Tensor:
    """States at the last token of texts of equal length; the forward stops after the block."""
    name = f"blocks.{layer}.hook_resid_post"
    found = []
    for begin in range(0, len(texts), n_batch):
        ids = torch.tensor(texts[begin : begin + n_batch])
        _, cache = bridge.run_with_cache(ids, names_filter=name, stop_at_layer=layer + 1, prepend_bos=False)
        found.append(cache[name][:, -1].clone())
    return torch.cat(found)


def main() -> None:
    """Answer each line of the standard input."""
    model, n_threads, layer, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    torch.set_num_threads(n_threads)
    transformers.logging.disable_progress_bar()
    bridge = load(model)
    for number, line in enumerate(sys.stdin):
        states = states_of(bridge, **json.loads(line), layer=layer)
        file = folder / f"{number}.safetensors"
        save_file({"states": states}, file)
        print(json.dumps(str(file)), flush=True)


if __name__ == "__main__":
    main()
