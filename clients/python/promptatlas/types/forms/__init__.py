"""Registry of the kinds of prompts. A new kind needs a file like ``soft.py`` and three lines here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from pydantic import Field

from promptatlas.types.forms.deep import DeepForm, DeepMethod
from promptatlas.types.forms.form import ModelShape, PromptForm, TuningMethod, Where
from promptatlas.types.forms.prefix import PrefixForm, PrefixMethod
from promptatlas.types.forms.soft import SoftForm, SoftMethod, Virtual
from promptatlas.types.forms.steering import SteeringForm, SteeringMethod

PromptKind = Literal["soft", "deep", "prefix", "steering"]
StoredKind = Literal["soft", "deep", "prefix", "steering", "posterior"]
"""Kind of a stored version: a prompt, or a posterior, whose members are prompts of one kind."""
Method = Annotated[SoftMethod | DeepMethod | PrefixMethod | SteeringMethod, Field(discriminator="kind")]

FORMS: Mapping[PromptKind, PromptForm] = {
    "soft": SoftForm(),
    "deep": DeepForm(),
    "prefix": PrefixForm(),
    "steering": SteeringForm(),
}


def kind_of(names: Iterable[str]) -> PromptKind:
    """The kind of a prompt whose tensors have these names.

    Raises:
        ValueError: the names belong to no kind, or to several.
    """
    names = set(names)
    for kind, form in FORMS.items():
        if form.owns(names):
            return kind
    *others, last = (f"{kind}.<layer>" if form.is_layered else kind for kind, form in FORMS.items())
    expected = f"{', '.join(others)} or {last}"
    raise ValueError(f"expected the tensors {expected}, got {', '.join(sorted(names)) or 'none'}")


__all__ = [
    "FORMS",
    "DeepMethod",
    "Method",
    "ModelShape",
    "PrefixMethod",
    "PromptForm",
    "PromptKind",
    "SoftMethod",
    "SteeringMethod",
    "StoredKind",
    "TuningMethod",
    "Virtual",
    "Where",
    "kind_of",
]
