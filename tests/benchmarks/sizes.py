"""Sizes at which a benchmark's sides can be compared in a moment."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.contests.maps import maps, permutations
from benchmarks.contests.serving import arrivals, completions, predictive, single
from benchmarks.contests.states import capture, harvest, trajectories, transfer
from benchmarks.contests.store import lists
from benchmarks.contests.tuning import cartridge as tuning_cartridge
from benchmarks.contests.tuning import checkpoints as tuning_checkpoints
from benchmarks.contests.tuning import deep as tuning_deep
from benchmarks.contests.tuning import distillation as tuning_distillation
from benchmarks.contests.tuning import quality as tuning_quality
from benchmarks.contests.tuning import soft as tuning
from benchmarks.contests.tuning import svgd as tuning_svgd
from benchmarks.contests.tuning import vocabulary as tuning_vocabulary
from benchmarks.sides.models import LlamaSize

LLAMA = LlamaSize(d_model=32, n_layers=3, n_heads=4, n_kv_heads=2, d_mlp=48, n_vocab=97, n_positions=128)

COMPLETIONS = completions.Size(model=LLAMA, n_prompts=3, n_virtual=5, n_each=2, shortest=2, longest=11, n_new=7)
ARRIVALS = arrivals.Size(prompts=COMPLETIONS, n_requests=9, fewest_new=2, most_new=8, n_batch=4)
SINGLE = single.Size(model=LLAMA, n_input=6, n_new=8)
PREDICTIVE = predictive.Size(model=LLAMA, n_members=3, n_virtual=4, n_input=6, n_new=8)
CAPTURE = capture.Size(name="capture-tiny", model=LLAMA, n_texts=5, n_tokens=11, batches=(1, 3))
TRAJECTORIES = trajectories.Size(model=LLAMA, n_texts=4, shortest=2, longest=9, n_new=6)
TRANSFER = transfer.Size(model=LLAMA, n_texts=3, n_tokens=17)
HARVEST = harvest.Size(model=LLAMA, n_texts=9, n_tokens=11, batches=(4,))
LISTS = lists.Size(n_prompts=300, n_runs=1400, n_pages=2)
FIT = maps.FitSize(n=500, d=24)
PLACE = maps.PlaceSize(n=200, n_new=40, d=8)
PERMUTATIONS = permutations.Size(n=30, d=4, permutations=49)
TUNING = tuning.Size(
    name="tuning-tiny",
    model=LLAMA,
    n_prompts=2,
    n_virtual=3,
    n_examples=7,
    shortest=2,
    longest=9,
    n_answers=3,
    n_steps=3,
    pad_to=13,
)
TUNING_DEEP = tuning_deep.Size(model=LLAMA, n_tuned=2, n_virtual=3, n_examples=8, n_epochs=2, shortest=2, longest=9)
TUNING_VOCABULARY = tuning_vocabulary.Size(model=LLAMA, n_examples=7, n_input=5, n_steps=2, max_bytes=1 << 20)
TUNING_DISTILLATION = tuning_distillation.Size(
    model=LLAMA, n_prompts=2, n_virtual=3, n_examples=9, shortest=2, longest=9, n_answers=5, n_context=4, k=5, n_steps=3
)
TUNING_CHECKPOINTS = tuning_checkpoints.Size(tuning=TUNING, every=2)
TUNING_QUALITY = tuning_quality.Size(n_seeds=2, n_virtual=2, n_train=9, n_validation=4, n_steps=2)
TUNING_CARTRIDGE = tuning_cartridge.Size(
    model=LLAMA, n_document=17, n_virtual=5, n_texts=4, shortest=2, longest=9, n_steps=6
)
TUNING_SVGD = tuning_svgd.Size(tuning=replace(TUNING, n_prompts=4))
