"""The plans of studies, one module per model."""

from collections.abc import Mapping
from typing import Final

from demo.study.plan import StudyPlan
from demo.study.plans.demo_model import DEMO_MODEL
from demo.study.plans.smollm2 import SMOLLM2

PLANS: Final[Mapping[str, StudyPlan]] = {plan.name: plan for plan in (DEMO_MODEL, SMOLLM2)}
"""All plans, by the name that ``--model`` takes."""
