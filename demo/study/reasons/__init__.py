"""Tests of the reasons why a finding can differ between models: movement, fits from few samples, and the chat template."""

from typing import Any

from promptatlas import Client

from demo.study.plan import StudyPlan
from demo.study.reasons.fits import measure_fits
from demo.study.reasons.movement import measure_movement
from demo.study.reasons.template import measure_template, prefix_of
from demo.study.record import Record
from demo.tour.model_text import ModelText


def measure_reasons(client: Client, *, plan: StudyPlan, record: Record, text: ModelText) -> dict[str, Any]:
    """Results by name: ``movement``, ``fits`` and ``template``. Those that the study has no data for are empty."""
    card = client.models.get(plan.model)
    return {
        "movement": measure_movement(client, record=record),
        "fits": measure_fits(client, plan=plan, card=card, size=record.size),
        "template": measure_template(client, plan=plan, card=card, size=record.size, prefix=prefix_of(text)),
    }
