"""Probes, compared with scikit-learn's ridge regression of one-hot targets."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from demo.distillation.probes import RIDGE, probe_accuracy, variants
from tests.demo.distillation.records import record

N_TRAIN = 200
RNG = np.random.default_rng(0)
DIGITS = RNG.integers(10, size=300)


@pytest.mark.parametrize("noise", [0.1, 0.6, 3.0])
def test_accuracy_is_that_of_scikit_learn(noise: float) -> None:
    states = np.eye(10)[DIGITS] @ RNG.normal(size=(10, 24)) + noise * RNG.normal(size=(300, 24))
    scaled = StandardScaler().fit(states[:N_TRAIN])
    model = Ridge(alpha=RIDGE * N_TRAIN).fit(scaled.transform(states[:N_TRAIN]), np.eye(10)[DIGITS[:N_TRAIN]])
    predicted = model.predict(scaled.transform(states[N_TRAIN:])).argmax(1)
    assert probe_accuracy(states, DIGITS, n_train=N_TRAIN) == pytest.approx((predicted == DIGITS[N_TRAIN:]).mean())


def test_the_student_with_the_lowest_validation_loss_is_probed() -> None:
    one = record()
    name = "student-soft-the-answer"
    prompts = ["isotropic-0@1", "steps-0@1", "isotropic-1@1", "steps-1@1"]
    done = {**one.runs, name: type(one.runs[name])(run_id="r", seconds=1.0, cost=1.0, prompts=prompts)}
    found = variants(type(one)(**{**vars(one), "runs": done}))
    assert found["student of the answer"] == ("", "steps-0@1")
    assert found["no prompt"] == ("", None)
