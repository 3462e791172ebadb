"""Registry of training forms. A new kind needs a file like ``soft.py`` and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from promptatlas.types.forms import PromptKind

from workers.tuning.training.forms.deep import DeepTraining
from workers.tuning.training.forms.form import TrainingForm
from workers.tuning.training.forms.prefix import PrefixTraining
from workers.tuning.training.forms.soft import SoftTraining
from workers.tuning.training.forms.steering import SteeringTraining

TRAINING_FORMS: Mapping[PromptKind, TrainingForm] = {
    "soft": SoftTraining(),
    "deep": DeepTraining(),
    "prefix": PrefixTraining(),
    "steering": SteeringTraining(),
}
