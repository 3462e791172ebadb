"""Members that train side by side: the same examples for all, each with its own parameters, optimiser and fate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt, from_tensors
from service.engine.prompts.registry import check_fit
from service.engine.shapes import Float, Tensor
from service.errors import InvalidRequest
from workers.inputs.examples import EncodedExample
from workers.tuning.training.batches import Order, cut
from workers.tuning.training.member import MemberTraining
from workers.tuning.training.objective import Objective
from workers.tuning.training.settings import Member, TuneSettings
from workers.tuning.training.state import load_state, save_state
from workers.tuning.training.step_report import MemberReport, Outcome, StepReport


class Trainer:
    """Trains all members to their ends, one update a ``step()``.

    Which examples a step sees, and in what order, follows from ``data_seed`` and the step alone. A member's vectors do not
    depend on who trains beside it, but for rounding. Stopped anywhere and given its ``state()``, another trainer made with
    the same arguments goes on bitwise as this one would (on a CPU).

    Attributes:
        step_number: updates done.
        total: updates that there will be at most.
    """

    def __init__(
        self,
        model: HostedModel,
        *,
        members: Sequence[Member],
        train: Sequence[EncodedExample],
        validation: Sequence[EncodedExample],
        settings: TuneSettings,
        max_bytes: int,
    ) -> None:
        """Nothing runs yet.

        Args:
            members: at least one; their draws are of one form, which fits the model.
            validation: for the loss that is reported, stops early and selects; may be empty, then none of that happens.
            max_bytes: for what one forward holds beside the model, and half as much again for states that are kept.
                Members and examples are split over several forwards rather than refused.

        Raises:
            InvalidRequest: no members, no examples, or draws that do not fit the settings or the model.
        """
        if not members or not train:
            raise InvalidRequest(f"expected members and examples, got {len(members)} and {len(train)}.")
        form = _common_form(model, members, settings)
        self.settings = settings
        self.total = settings.steps
        self.step_number = 0
        self._train = train
        self._order = Order(len(train), batch_size=settings.batch_size, seed=settings.data_seed)
        self._members = [MemberTraining(member, settings=settings, device=model.device) for member in members]
        self._objective = Objective(
            model,
            form,
            validation=validation,
            gradient_checkpointing=settings.gradient_checkpointing,
            max_bytes=max_bytes,
        )

    @property
    def finished(self) -> bool:
        """Whether no member has anything left to do."""
        return not any(member.is_running for member in self._members)

    def step(self) -> StepReport:
        """One update of every member that is running.

        Raises:
            RuntimeError: all have finished.
        """
        if self.finished:
            raise RuntimeError("all members have finished.")
        running = [member for member in self._members if member.is_running]
        losses = self._gather_gradients(running)
        reports = self._update(running, losses)
        self.step_number += 1
        self._copy_snapshots(running)
        if self.step_number >= self.total:
            for member in running:
                note = member.finish() if member.is_running else None
                reports[member.member.name] |= {"note": note} if note else {}
        self._validate_if_due(running, reports)
        return StepReport(step=self.step_number, members=tuple(self._report(m, reports) for m in self._members))

    def validation_losses(self) -> dict[str, float]:
        """Of every member as it is now, by name: mean nats an answer token. Empty without validation examples."""
        if not self._objective.can_validate:
            return {}
        losses = self._objective.validation_losses([member.tensors() for member in self._members])
        return {m.member.name: loss for m, loss in zip(self._members, losses, strict=True)}

    def tensors(self, i: int) -> dict[str, Tensor]:
        """Member i's prompt as it is now, in the native format, float32 on the CPU."""
        return self._members[i].tensors()

    def result(self, i: int) -> dict[str, Tensor]:
        """The vectors to keep of member i: its last ones or, by the settings, its best ones."""
        return dict(self.outcome(i).tensors)

    def outcome(self, i: int) -> Outcome:
        """The same with its step, its validation loss and how the member ended."""
        member = self._members[i]
        name, status = member.member.name, member.status
        if member.best is not None:
            return Outcome(
                name=name, status=status, step=member.best_step, validation_loss=member.best_loss, tensors=member.best
            )
        return Outcome(name=name, status=status, step=member.step, validation_loss=None, tensors=member.tensors())

    def snapshots(self, i: int) -> Mapping[int, Mapping[str, Tensor]]:
        """Step → member i's vectors after it, for the steps so far that the settings ask for."""
        return self._members[i].snapshots

    def state(self) -> dict[str, bytes]:
        """Everything that decides what follows, as files."""
        return save_state(self._members, step_number=self.step_number, settings=self.settings, n_train=len(self._train))

    def load(self, files: Mapping[str, bytes]) -> None:
        """Go on from a ``state()``.

        Raises:
            InvalidRequest: it is of other members, settings or examples.
        """
        self.step_number = load_state(files, self._members, settings=self.settings, n_train=len(self._train))

    def _gather_gradients(self, running: Sequence[MemberTraining]) -> Float[Tensor, " n_members"]:
        """Gradients into every running member's leaves; the data's losses."""
        for member in running:
            member.optimiser.forget_gradient()
        examples = [self._train[i] for i in self._order.batch(self.step_number)]
        parts = cut(examples, parts=self.settings.accumulate)
        native = [member.parameters.tensors() for member in running]
        losses, gradients = self._objective.gradients(native, parts)
        for member, tensors, gradient in zip(running, native, gradients, strict=True):
            roots, flows = list(tensors.values()), [gradient[name] for name in tensors]
            log_prob, weight = member.member.prior_log_prob, self.settings.regularize_weight
            if log_prob is not None and weight > 0:
                # Priors live on the CPU, wherever the model is.
                density = log_prob({name: tensor.cpu() for name, tensor in tensors.items()})
                roots.append(-weight * density / sum(tensor.numel() for tensor in tensors.values()))
                flows.append(torch.ones_like(roots[-1]))
            torch.autograd.backward(roots, flows)
        return losses

    def _update(self, running: Sequence[MemberTraining], losses: Tensor) -> dict[str, dict[str, object]]:
        norms = torch.stack([member.optimiser.gradient_norm() for member in running])
        reports: dict[str, dict[str, object]] = {}
        for member, loss, norm, tensor in zip(running, losses.tolist(), norms.tolist(), norms, strict=True):
            rate, note = member.advance(self.step_number, loss=loss, norm=norm, norm_tensor=tensor)
            reports[member.member.name] = {"loss": loss, "lr": rate, "grad_norm": norm, "note": note}
        return reports

    def _copy_snapshots(self, running: Sequence[MemberTraining]) -> None:
        if self.step_number in self.settings.snapshot_steps:
            for member in running:
                member.snapshots[self.step_number] = member.tensors()

    def _validate_if_due(self, running: Sequence[MemberTraining], reports: dict[str, dict[str, object]]) -> None:
        due = self.step_number % self.settings.eval_every == 0 or self.step_number >= self.total
        judged = [member for member in running if member.status != "diverged"]
        if not due or not judged or not self._objective.can_validate:
            return
        losses = self._objective.validation_losses([member.tensors() for member in judged])
        for member, loss in zip(judged, losses, strict=True):
            member.judge(loss)
            reports[member.member.name]["validation_loss"] = loss

    @staticmethod
    def _report(member: MemberTraining, reports: Mapping[str, Mapping[str, object]]) -> MemberReport:
        name = member.member.name
        return MemberReport(name=name, status=member.status, **reports.get(name, {}))  # type: ignore[arg-type]


def _common_form(model: HostedModel, members: Sequence[Member], settings: TuneSettings) -> Prompt:
    """The first member's draw; raises InvalidRequest unless all draws are of its form, and it is of the settings' kind."""
    forms = [from_tensors(member.start, where=settings.where) for member in members]
    for form in forms:
        if form.kind != settings.kind:
            raise InvalidRequest(f"expected draws of kind {settings.kind}, got {form.kind}.")
        if form.form != forms[0].form:
            raise InvalidRequest(f"members train together in one form: expected {forms[0].form}, got {form.form}.")
        check_fit(model, form)
    return forms[0]
