"""pass@k and majority@k of a run, from the records that it stores."""

from __future__ import annotations

import json
import re

import pytest

from tests.workers.generate.small_generation import SmallGeneration
from workers.evaluation.judgement import Judgement
from workers.evaluation.repeated_samples import measures_of
from workers.generate.run import generate

N = 11


def test_pass_and_majority_are_those_of_the_stored_samples(small: SmallGeneration) -> None:
    """Means over items, from the records of a dataset that keeps every sample."""
    rule = {"find": "pattern", "pattern": "^ ?(t\\d)"}
    run = small.run(temperature=1.0, n=4, seed=5, max_tokens=2, prompt_refs=[None, "soft"], answer=rule)
    metrics = generate(run)
    table = json.loads(run.outputs["summary.json"])
    for label in ("bare", "soft@1"):
        traces = [trace for number in range(4) for trace in small.traces(number)]
        own = [trace for trace in traces if (trace.prompt == 0) == (label == "bare")]
        expected = []
        for i in range(N):
            answers = [found_in(trace.text) for trace in own if trace.item == i]
            found = [Judgement(answer=each, is_correct=each == reference(i)) for each in answers]
            expected.append(measures_of(found, ks=[1, 2, 4]))
        for name in ("pass@1", "pass@2", "pass@4", "majority@1", "majority@2", "majority@4"):
            mean = sum(each[name] for each in expected) / N
            assert metrics[f"{label}/{name}"] == pytest.approx(mean)
            assert table[label][name]["value"] == pytest.approx(mean)
            assert table[label][name]["n"] == N
            assert metrics[f"{label}/{name}_low"] <= mean <= metrics[f"{label}/{name}_high"]
    assert metrics["bare/pass@4"] + metrics["soft@1/pass@4"] > 0
    assert not any(name.startswith(("pass@", "majority@")) for name in metrics)


def found_in(text: str) -> str | None:
    """What the rule of the test above finds in a text."""
    found = re.match(r"^ ?(t\d)", text)
    return None if found is None else found.group(1)


def reference(i: int) -> str | None:
    """What it finds in an item's target."""
    return found_in(f" t{2 + i}")


def test_one_sample_of_each_item_has_no_such_measures(small: SmallGeneration) -> None:
    run = small.run()
    assert not any("@" in name for name in generate(run))
    assert "summary.json" not in run.outputs
