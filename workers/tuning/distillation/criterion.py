"""Loss of students: a weighted sum of cross-entropy, divergences from the teacher, and distances of states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from promptatlas.types.distillation import DivergenceLoss, LossTerm, SequenceLoss, StatesLoss
from torch.nn import functional as F  # noqa: N812 (the conventional name)

from service.engine.shapes import Float, Int, Tensor
from workers.inputs.examples import EncodedExample
from workers.tuning.distillation.distributions import Distributions, View, divergence, joined
from workers.tuning.distillation.lessons import LearnedExample
from workers.tuning.distillation.row_loss import row_losses
from workers.tuning.distillation.teachers import Teacher, Teaching
from workers.tuning.packing.layout import Layout
from workers.tuning.training.criterion import States


def view_of(term: DivergenceLoss) -> View:
    """What a term needs of the teacher's logits."""
    return View(temperature=term.temperature, top_k=term.top_k)


def views_of(terms: Sequence[LossTerm]) -> list[View]:
    """What the terms need of the teacher's logits, each once."""
    return list(dict.fromkeys(view_of(term) for term in terms if isinstance(term, DivergenceLoss)))


def layers_of(terms: Sequence[LossTerm]) -> list[int]:
    """Layers whose states the terms compare, ascending."""
    return sorted({layer for term in terms if isinstance(term, StatesLoss) for layer in term.layers})


@dataclass(frozen=True, kw_only=True, eq=False)
class _Answers:
    """The answer tokens of a forward, in the order of the layout.

    targets: `[answers]`. teacher_rows: for each, its row in the tensors of the teacher, which have each example once.
    is_sampled: whether its example is the student's own sample. is_answer_start: whether it is the first token of the answer.
    """

    targets: Int[Tensor, " answers"]
    teacher_rows: Int[Tensor, " answers"]
    is_sampled: Tensor
    is_answer_start: Tensor


class DistillationLoss:
    """The criterion of a ``distill`` run.

    Args:
        terms: of the spec; layers counted from 0.
    """

    def __init__(self, terms: Sequence[LossTerm], *, teacher: Teacher | None) -> None:
        self._terms = terms
        self._views = views_of(terms)
        self._teacher = teacher
        self.state_layers = frozenset(layers_of(terms))

    def values(
        self, logits: Float[Tensor, "answers vocab"], *, layout: Layout, states: States
    ) -> Float[Tensor, " answers"]:
        """The weighted sum of the terms at each answer token."""
        examples = [_learned(example) for group in layout.batch.groups for example in group.examples]
        answers = _answers_of(layout, examples, device=logits.device)
        taught = self._taught(examples)
        pairs = list(zip(taught, examples, strict=True)) if taught else []
        of_views = {view: joined([_kept(known.views[view], own) for known, own in pairs]) for view in self._views}

        def losses(at: slice, rows: Tensor) -> Tensor:
            return self._of_logits(rows, at=at, answers=answers, of_views=of_views)

        total = row_losses(logits, losses) if self._reads_logits else logits.new_zeros(len(logits), dtype=torch.float32)
        for term in self._terms:
            if isinstance(term, StatesLoss):
                total = total + term.weight * _distance(term, states, taught, examples, answers=answers)
        return total

    @property
    def _reads_logits(self) -> bool:
        return any(not isinstance(term, StatesLoss) for term in self._terms)

    def _taught(self, examples: Sequence[LearnedExample]) -> list[Teaching]:
        if not self._views and not self.state_layers:
            return []
        assert self._teacher is not None
        return [self._teacher.teaching(example.lesson) for example in examples]

    def _of_logits(
        self, rows: Tensor, *, at: slice, answers: _Answers, of_views: dict[View, Distributions]
    ) -> Float[Tensor, " rows"]:
        total = rows.new_zeros(len(rows))
        log_q = {1.0: torch.log_softmax(rows, -1)}
        for term in self._terms:
            if isinstance(term, SequenceLoss):
                nats = -log_q[1.0].gather(1, answers.targets[at, None]).squeeze(1)
                total = total + term.weight * nats.masked_fill(answers.is_sampled[at], 0.0)
            elif isinstance(term, DivergenceLoss):
                if term.temperature not in log_q:
                    log_q[term.temperature] = torch.log_softmax(rows / term.temperature, -1)
                teacher = of_views[view_of(term)].at(answers.teacher_rows[at])
                total = total + term.weight * divergence(term.kind, log_q[term.temperature], teacher, rest=term.rest)
        return total


def _learned(example: EncodedExample) -> LearnedExample:
    assert isinstance(example, LearnedExample)
    return example


def _kept(whole: Distributions, example: LearnedExample) -> Distributions:
    return whole.at(torch.tensor(example.kept, device=whole.log_probs.device))


def _answers_of(layout: Layout, examples: Sequence[LearnedExample], *, device: torch.device) -> _Answers:
    by_row, starts, sampled, first_row = [], [], [], 0
    for group in layout.batch.groups:
        shape = (group.n_rows, group.n_answers)
        rows = torch.arange(first_row, first_row + group.targets.numel())
        own = [_learned(example) for example in group.examples]
        begins = torch.zeros(shape, dtype=torch.bool)
        begins[torch.arange(group.n_rows), torch.tensor([example.answer_at for example in own])] = True
        is_sampled = torch.tensor([example.lesson.is_sampled for example in own])
        by_row.append(rows.repeat(layout.n_members))
        starts.append(begins.flatten().repeat(layout.n_members))
        sampled.append(is_sampled[:, None].expand(shape).flatten().repeat(layout.n_members))
        first_row += group.targets.numel()
    return _Answers(
        targets=layout.targets.to(device),
        teacher_rows=torch.cat(by_row).to(device),
        is_sampled=torch.cat(sampled).to(device),
        is_answer_start=torch.cat(starts).to(device),
    )


def _distance(
    term: StatesLoss,
    states: States,
    taught: Sequence[Teaching],
    examples: Sequence[LearnedExample],
    *,
    answers: _Answers,
) -> Float[Tensor, " answers"]:
    """Mean over the layers and over d_model of the smooth L1 distance at each answer token; 0 at other positions."""
    found = []
    for layer in term.layers:
        own = states[layer]
        of_teacher = torch.cat([t.states[layer][list(e.kept)] for t, e in zip(taught, examples, strict=True)])
        target = of_teacher.to(own.device)[answers.teacher_rows.to(own.device)]
        found.append(F.smooth_l1_loss(own.float(), target, reduction="none", beta=term.beta).mean(-1))
    mean = torch.stack([distance.to(answers.targets.device) for distance in found]).mean(0)
    is_left_out = answers.is_sampled if term.position == "all" else answers.is_sampled | ~answers.is_answer_start
    return mean.masked_fill(is_left_out, 0.0)
