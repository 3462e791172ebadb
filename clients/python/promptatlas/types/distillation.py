"""Distillation: runs that tune prompts to reproduce a teacher's texts, next-token distributions or states."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from promptatlas.types.answers import AnswerRule
from promptatlas.types.datasets import DatasetRef, Split, Template
from promptatlas.types.generation import Context
from promptatlas.types.references import PromptRef
from promptatlas.types.sites import LayerIndex
from promptatlas.types.tuning import Eval, TuneSpec
from promptatlas.types.wire import RequestBody

Share = Annotated[float, Field(ge=0, le=1)]
RemovedFrom = Literal["start", "end"]


class Teacher(RequestBody):
    """What the students learn from. At least one field is given.

    dataset: the teacher's texts, in place of the targets of the spec's dataset. If it is the only field, next-token
    distributions come from the dataset's files of most probable tokens.
    model: a hosted model with an equal tokenizer; None: the students' own base.
    context: what that model reads in front of each input. prompt_ref: the stored prompt under which it reads.
    """

    dataset: DatasetRef | None = None
    model: str | None = Field(default=None, min_length=1, max_length=200)
    context: Context | None = None
    prompt_ref: PromptRef | None = None

    @property
    def runs(self) -> bool:
        """Whether the worker runs a model as the teacher."""
        return not (self.model is None and self.context is None and self.prompt_ref is None)


class StepShare(RequestBody):
    """Keep a share of the steps of each chain, rounded to whole steps. from: where steps are removed; in Python ``from_``."""

    model_config = ConfigDict(populate_by_name=True)
    steps: Share
    from_: RemovedFrom = Field(default="start", alias="from")


class TokenShare(RequestBody):
    """Keep a share of the tokens of each chain's steps. from: where tokens are removed."""

    model_config = ConfigDict(populate_by_name=True)
    tokens: Share
    from_: RemovedFrom = Field(default="start", alias="from")


class Removal(RequestBody):
    """Stepwise internalisation (arXiv 2405.14838): ⌊remove_per_epoch · epochs so far⌋ units of each chain are removed.

    unit: the published method removes tokens. smoothing: λ of the published smoothing: o more units are removed with a
    probability proportional to exp(−λ·o), drawn for each example of each step; None: no smoothing.
    The state of the optimizer is reset whenever another unit is removed.
    """

    model_config = ConfigDict(populate_by_name=True)
    remove_per_epoch: float = Field(gt=0, le=1_000_000)
    from_: RemovedFrom = Field(default="start", alias="from")
    unit: Literal["steps", "tokens"] = "steps"
    smoothing: float | None = Field(default=4.0, gt=0, le=1000)


def _part_tag(value: Any) -> str:
    if isinstance(value, str):
        return "name"
    names = value if isinstance(value, dict) else getattr(type(value), "model_fields", {})
    return next((name for name in ("steps", "tokens") if name in names), "removal")


Part = Annotated[
    Annotated[Literal["chain", "answer"], Tag("name")]
    | Annotated[StepShare, Tag("steps")]
    | Annotated[TokenShare, Tag("tokens")]
    | Annotated[Removal, Tag("removal")],
    Discriminator(_part_tag),
]


class Target(RequestBody):
    """The part of each text that the students learn.

    part: the whole chain, the answer without steps, a share, or a share that shrinks during training.
    answer: where the answer of a text is; None: the record's ``answer`` or, without one, its first correct answer.
    """

    part: Part = "chain"
    answer: AnswerRule | None = None


class SequenceLoss(RequestBody):
    """Cross-entropy of the target's tokens, −log q(token), in nats per token."""

    kind: Literal["sequence"]
    weight: float = Field(default=1.0, gt=0, le=1e6)


class DivergenceLoss(RequestBody):
    """Divergence between the next-token distributions p of the teacher and q of the student, in nats per token.

    kind: ``kl`` is KL(p ‖ q), ``reverse_kl`` is KL(q ‖ p), ``jsd`` is the Jensen–Shannon divergence.
    temperature: divides both models' logits. top_k: only the teacher's most probable tokens are distinguished; None: the whole
    vocabulary or, of a file, all tokens in it. rest: all other tokens together are one more outcome, so the loss is a
    divergence of distributions; false: the published form −Σ p·log q over the top tokens, only for ``kl``.
    """

    kind: Literal["kl", "reverse_kl", "jsd"]
    weight: float = Field(default=1.0, gt=0, le=1e6)
    temperature: float = Field(default=1.0, gt=0, le=100)
    top_k: int | None = Field(default=None, ge=1, le=4096)
    rest: bool = True


class StatesLoss(RequestBody):
    """Smooth L1 distance of the students' states to the teacher's, averaged over d_model.

    layers: of the site. position: the tokens that predict the target's tokens; ``answer`` is the one that predicts the first
    token of the answer. beta: the loss is quadratic below it, as in torch.
    """

    kind: Literal["states"]
    weight: float = Field(default=1.0, gt=0, le=1e6)
    site: Literal["resid_post"] = "resid_post"
    layers: list[LayerIndex] = Field(min_length=1, max_length=1024)
    position: Literal["all", "answer"] = "all"
    beta: float = Field(default=1.0, gt=0, le=1e6)


LossTerm = Annotated[SequenceLoss | DivergenceLoss | StatesLoss, Field(discriminator="kind")]


class OtherText(RequestBody):
    """Text of another domain, on which the loss is measured: what a student has unlearned shows there.

    dataset: of running text, or of inputs and targets. split: None: the first of test, validation and train that has examples.
    n: number of examples, a sample; None: all.
    """

    dataset: DatasetRef
    split: Split | None = None
    n: int | None = Field(default=200, ge=1)
    template: Template | None = None


class DistillEval(Eval):
    """When and how members are evaluated. other: text of another domain; None: none."""

    other: OtherText | None = None


class DistillSpec(TuneSpec):
    """Spec of a ``distill`` run: a ``tune`` run whose members learn from a teacher.

    dataset: the items that members are evaluated on and, unless the teacher has a dataset, the texts that they learn.
    loss: the loss is the weighted sum of the terms.
    on_policy: share of each batch whose targets are replaced by the member's own samples, on which only divergences are
    computed.
    """

    run_kind: ClassVar[str] = "distill"

    eval: DistillEval = Field(default_factory=DistillEval)
    teacher: Teacher
    target: Target = Field(default_factory=Target)
    loss: list[LossTerm] = Field(default=[SequenceLoss(kind="sequence")], min_length=1, max_length=8)
    on_policy: Share = 0.0
