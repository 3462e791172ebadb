"""Sizes at which a benchmark's sides can be compared in a moment."""

from __future__ import annotations

from benchmarks import arrivals, capture, completions, single, trajectories, transfer
from benchmarks.sides.models import LlamaSize

LLAMA = LlamaSize(d_model=32, n_layers=3, n_heads=4, n_kv_heads=2, d_mlp=48, n_vocab=97, n_positions=128)

COMPLETIONS = completions.Size(model=LLAMA, n_prompts=3, n_virtual=5, n_each=2, shortest=2, longest=11, n_new=7)
ARRIVALS = arrivals.Size(prompts=COMPLETIONS, n_requests=9, fewest_new=2, most_new=8, n_batch=4)
SINGLE = single.Size(model=LLAMA, n_input=6, n_new=8)
CAPTURE = capture.Size(name="capture-tiny", model=LLAMA, n_texts=5, n_tokens=11, batches=(1, 3))
TRAJECTORIES = trajectories.Size(model=LLAMA, n_texts=4, shortest=2, longest=9, n_new=6)
TRANSFER = transfer.Size(model=LLAMA, n_texts=3, n_tokens=17)
