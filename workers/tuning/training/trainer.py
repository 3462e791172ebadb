"""Trainer of several members on the same examples. Each member has its own parameters, optimizer and status."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt, from_tensors
from service.engine.prompts.registry import check_fit
from service.engine.shapes import Float, Tensor
from service.errors import InvalidRequest
from workers.inputs.examples import EncodedExample
from workers.tuning.packing.batches import Order, cut
from workers.tuning.samplers.curvature import estimate_curvatures
from workers.tuning.samplers.langevin import LangevinOptimizer
from workers.tuning.samplers.svgd import steer
from workers.tuning.training.criterion import Criterion, Curriculum, Sampler
from workers.tuning.training.frozen_layers import FrozenLayers
from workers.tuning.training.member import MemberTraining
from workers.tuning.training.objective import Objective
from workers.tuning.training.optimizer import MemberOptimizer
from workers.tuning.training.settings import Member, TuneSettings
from workers.tuning.training.state import load_state, save_state
from workers.tuning.training.step_report import MemberReport, Outcome, StepReport


class Trainer:
    """Trains all members. ``step()`` makes one update.

    The examples of a step and their order depend only on ``data_seed`` and the step. The vectors of a member are, up to
    rounding, independent of the other members. A trainer with the same arguments that loads a ``state()`` continues bitwise
    as the saved trainer would (on a CPU).

    Attributes:
        step_number: number of completed updates.
        total: highest number of updates.
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
        criterion: Criterion | None = None,
        curriculum: Curriculum | None = None,
        sampler: Sampler | None = None,
        frozen: FrozenLayers | None = None,
    ) -> None:
        """Create the training state, without running the model.

        Args:
            members: at least one. Their draws have one form, which fits the model.
            validation: examples for validation losses, early stopping and the selection of vectors. If empty, there are none
                of these.
            max_bytes: memory limit of one forward, without the model. Cached states may use half as much in addition.
                Members and examples that do not fit are split over several forwards.
            criterion: the loss of each answer token; None: cross-entropy.
            curriculum: the examples of each step; None: those of ``train``, unchanged.
            sampler: replaces the targets of some examples by samples of each member; None: none.
            frozen: cached states of another trainer with the same model, form and examples; None: own ones.

        Raises:
            InvalidRequest: no members, no examples, or draws that do not fit the settings or the model.
        """
        if not members or not train:
            raise InvalidRequest(
                f"expected members and examples, got {len(members)} members and {len(train)} examples."
            )
        form = _common_form(model, members, settings)
        self.settings = settings
        self.total = settings.steps
        self.step_number = 0
        self._train = train
        self._curriculum = curriculum
        self._sampler = sampler
        self._order = Order(len(train), batch_size=settings.batch_size, seed=settings.data_seed)
        self._members = [MemberTraining(member, settings=settings, device=model.device) for member in members]
        self._objective = Objective(
            model,
            form,
            validation=validation,
            gradient_checkpointing=settings.gradient_checkpointing,
            max_bytes=max_bytes,
            criterion=criterion,
            frozen=frozen,
        )

    @property
    def frozen(self) -> FrozenLayers | None:
        """Cached states below the lowest tuned layer; None if tuning begins at the embeddings."""
        return self._objective.frozen

    @property
    def finished(self) -> bool:
        """Whether no member is running."""
        return not any(member.is_running for member in self._members)

    def step(self) -> StepReport:
        """Update all running members.

        Raises:
            RuntimeError: all members have finished.
        """
        if self.finished:
            raise RuntimeError("all members have finished.")
        running = [member for member in self._members if member.is_running]
        indices = self._order.batch(self.step_number)
        n_sampled = 0 if self._sampler is None else self._sampler.n_sampled(len(indices))
        sampled = self._samples(running, indices[:n_sampled])
        examples = self._examples(running, indices[n_sampled:])
        losses = self._gather_gradients(running, examples, sampled)
        self._sample_posterior(running, lambda: self._gather_gradients(running, examples, sampled))
        reports = self._update(running, losses)
        self.step_number += 1
        self._copy_snapshots(running)
        if self.step_number >= self.total:
            for member in running:
                note = member.finish() if member.is_running else None
                reports[member.member.name] |= {"note": note} if note else {}
        self._validate_if_due(running, reports)
        return StepReport(
            step=self.step_number,
            members=tuple(self._report(m, reports) for m in self._members),
            n_tokens=len(running) * sum(example.length for example in examples)
            + sum(example.length for own in sampled for example in own),
        )

    def validation_losses(self) -> dict[str, float]:
        """Current validation losses by member, in mean nats per answer token. Empty without validation examples."""
        if not self._objective.can_validate:
            return {}
        losses = self._objective.validation_losses([member.tensors() for member in self._members])
        return {m.member.name: loss for m, loss in zip(self._members, losses, strict=True)}

    def tensors(self, i: int) -> dict[str, Tensor]:
        """The current prompt of member ``i`` in the native format, float32 on the CPU."""
        return self._members[i].tensors()

    def result(self, i: int) -> dict[str, Tensor]:
        """The resulting tensors of member ``i``: the last or the best ones, as in ``settings.keep``."""
        return dict(self.outcome(i).tensors)

    def outcome(self, i: int) -> Outcome:
        """The result of member ``i``, with its step, validation loss and status."""
        member = self._members[i]
        name, status = member.member.name, member.status
        if member.best is not None:
            return Outcome(
                name=name, status=status, step=member.best_step, validation_loss=member.best_loss, tensors=member.best
            )
        return Outcome(name=name, status=status, step=member.step, validation_loss=None, tensors=member.tensors())

    def loss_gradients(self, prompts: Sequence[Mapping[str, Tensor]], *, n_examples: int) -> list[dict[str, Tensor]]:
        """Gradients of the mean loss per answer token, on the first ``n_examples``, at each of some prompts, on the CPU."""
        device = self._objective.device
        placed = [{name: tensor.to(device) for name, tensor in prompt.items()} for prompt in prompts]
        _, gradients = self._objective.gradients(placed, [self._train[:n_examples]])
        return [{name: tensor.cpu() for name, tensor in gradient.items()} for gradient in gradients]

    def snapshots(self, i: int) -> Mapping[int, Mapping[str, Tensor]]:
        """Snapshots of member ``i`` so far, by step."""
        return self._members[i].snapshots

    def state(self) -> dict[str, bytes]:
        """The complete training state as files."""
        return save_state(self._members, step_number=self.step_number, settings=self.settings, n_train=len(self._train))

    def load(self, files: Mapping[str, bytes]) -> None:
        """Resume from a ``state()``.

        Raises:
            InvalidRequest: the state belongs to other members, settings or examples.
        """
        self.step_number = load_state(files, self._members, settings=self.settings, n_train=len(self._train))

    def _samples(self, running: Sequence[MemberTraining], indices: Sequence[int]) -> list[list[EncodedExample]]:
        """Examples that each member samples for the next update; empty if there are none."""
        if self._sampler is None or not indices:
            return []
        return self._sampler.examples([member.tensors() for member in running], indices, step=self.step_number)

    def _examples(self, running: Sequence[MemberTraining], indices: Sequence[int]) -> Sequence[EncodedExample]:
        """The examples of the next update, for which a curriculum may reset the optimizers."""
        if self._curriculum is None:
            return [self._train[i] for i in indices]
        if self._curriculum.resets_optimizer(self.step_number):
            for member in running:
                # A run with a curriculum has no posterior (service.planning.kinds.distill).
                assert isinstance(member.optimiser, MemberOptimizer)
                member.optimiser.reset()
        return self._curriculum.examples(indices, step=self.step_number)

    def _gather_gradients(
        self,
        running: Sequence[MemberTraining],
        examples: Sequence[EncodedExample],
        sampled: Sequence[Sequence[EncodedExample]],
    ) -> Float[Tensor, " n_members"]:
        """Compute the gradients of the running members' leaves. Returns the losses on the examples."""
        for member in running:
            member.optimiser.zero_grad()
        parts = cut(examples, parts=self.settings.accumulate)
        native = [member.parameters.tensors() for member in running]
        losses, gradients = self._objective.gradients(native, parts, sampled=sampled)
        for member, tensors, gradient in zip(running, native, gradients, strict=True):
            outputs, gradients_of_outputs = list(tensors.values()), [gradient[name] for name in tensors]
            n_values = sum(tensor.numel() for tensor in tensors.values())
            log_prob, weight = member.member.prior_log_prob, self._density_weight(n_values)
            if log_prob is not None and weight > 0:
                # Priors are on the CPU.
                density = log_prob({name: tensor.cpu() for name, tensor in tensors.items()})
                outputs.append(-weight * density)
                gradients_of_outputs.append(torch.ones_like(outputs[-1]))
            torch.autograd.backward(outputs, gradients_of_outputs)
        return losses

    def _sample_posterior(self, running: Sequence[MemberTraining], gather: Callable[[], object]) -> None:
        """What the method of a posterior needs between gradients and updates. gather: computes the gradients again."""
        posterior = self.settings.posterior
        if posterior is None:
            return
        if posterior.method == "svgd":
            steer([member.parameters.leaves for member in running], repulsion=posterior.noise)
        if posterior.preconditioner is not None and posterior.preconditioner.has_gamma:
            chains = [member.optimiser for member in running if isinstance(member.optimiser, LangevinOptimizer)]
            estimate_curvatures(chains, gather=gather, step=self.step_number)

    def _density_weight(self, n_values: int) -> float:
        """Factor of −log p(prompt) in the loss: that of the density, or the penalty's weight per value of the prompt."""
        posterior = self.settings.posterior
        return self.settings.regularize_weight / n_values if posterior is None else 1 / posterior.n_observations

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
        validated = [member for member in running if member.status != "diverged"]
        if not due or not validated or not self._objective.can_validate:
            return
        losses = self._objective.validation_losses([member.tensors() for member in validated])
        for member, loss in zip(validated, losses, strict=True):
            member.record_validation_loss(loss)
            reports[member.member.name]["validation_loss"] = loss

    @staticmethod
    def _report(member: MemberTraining, reports: Mapping[str, Mapping[str, object]]) -> MemberReport:
        name = member.member.name
        return MemberReport(name=name, status=member.status, **reports.get(name, {}))  # type: ignore[arg-type]


def _common_form(model: HostedModel, members: Sequence[Member], settings: TuneSettings) -> Prompt:
    """The first member's draw, as the common form of all draws.

    Raises:
        InvalidRequest: draws differ in form, or are not of the settings' kind.
    """
    forms = [from_tensors(member.start, where=settings.where) for member in members]
    for form in forms:
        if form.kind != settings.kind:
            raise InvalidRequest(f"expected draws of kind {settings.kind}, got {form.kind}.")
        if form.form != forms[0].form:
            raise InvalidRequest(f"all members must have one form: expected {forms[0].form}, got {form.form}.")
        check_fit(model, form)
    return forms[0]
