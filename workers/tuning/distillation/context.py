"""Context of one attempt at a ``distill`` run: its teacher, lessons, losses and evaluation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from promptatlas.types.datasets import Split
from promptatlas.types.distillation import DistillSpec, Removal, SequenceLoss

from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt
from service.errors import InvalidRequest
from service.store.datasets.items import DatasetInfo
from service.store.datasets.traces.store import TopTokensReader, TraceStore
from workers.evaluation.evaluator import TOKEN_COUNTS, RowEvaluator
from workers.inputs.examples import EncodedExample, EvalExample, read_eval_examples
from workers.inputs.framing import Framing, front_ids
from workers.inputs.limits import engine_limits
from workers.inputs.tokenizers import tokenizer_sha256
from workers.running.interface import RunContext
from workers.states.prompt_choice import choose_prompt, prompt_digest
from workers.tuning.context import EVAL_SEED, TuningContext
from workers.tuning.distillation.criterion import DistillationLoss, layers_of, views_of
from workers.tuning.distillation.curriculum import RemovalCurriculum
from workers.tuning.distillation.evaluated_teacher import EvaluatedTeacher, loss_examples
from workers.tuning.distillation.evaluation import AGREEMENT_METRICS, DistillEvaluator
from workers.tuning.distillation.lessons import Lesson, fixed_part, removed_part
from workers.tuning.distillation.on_policy import StudentSampler
from workers.tuning.distillation.reading import LessonReader, TeacherInputs
from workers.tuning.distillation.teachers import FileTeacher, ModelTeacher, Teacher
from workers.tuning.training.criterion import Criterion, Curriculum, Sampler

MIN_TEXT_TOKENS = 2
"""Tokens of the shortest text that has a loss."""

TEACHER_SHARE = 0.5
"""Memory for what teachers gave, as a share of the limit of one training forward."""


@dataclass(frozen=True, kw_only=True)
class DistillContext(TuningContext):
    """The spec of a run, its models and datasets."""

    spec: DistillSpec
    _lessons: dict[Split, list[Lesson]] = field(default_factory=dict)

    @classmethod
    def of(cls, run: RunContext) -> DistillContext:
        """Load the model and the dataset that the spec names; raises InvalidRequest if the teacher has another tokenizer."""
        # Through JSON, because strict validation distinguishes JSON types, not Python types.
        spec = DistillSpec.model_validate_json(json.dumps(dict(run.spec)))
        found = cls(run=run, spec=spec, model=run.load_model(spec.model), dataset=run.datasets.get(spec.dataset))
        found.require_equal_tokenizers()
        return found

    # --- teacher ---

    @cached_property
    def texts(self) -> DatasetInfo:
        """The dataset of the teacher's texts."""
        return self.run.datasets.get(self.spec.teacher.dataset or self.spec.dataset)

    @cached_property
    def teacher_model(self) -> HostedModel | None:
        """The model that runs as the teacher; None if none does."""
        teacher = self.spec.teacher
        return self.run.load_model(teacher.model or self.spec.model) if teacher.runs else None

    @cached_property
    def teacher_prompt(self) -> Prompt | None:
        """The prompt under which the teacher reads."""
        if self.teacher_model is None:
            return None
        chosen = choose_prompt(self.run.prompts, self.spec.teacher.prompt_ref, model=self.teacher_model)
        return None if chosen is None else chosen.prompt

    @cached_property
    def teacher(self) -> Teacher | None:
        """What gives distributions and states; None if the losses need none."""
        views, layers = views_of(self.spec.loss), layers_of(self.spec.loss)
        if not views and not layers:
            return None
        max_bytes = int(TEACHER_SHARE * self.forward_bytes)
        if self.teacher_model is None:
            assert self._top_tokens is not None
            return FileTeacher(self._top_tokens, views=views, max_bytes=max_bytes)
        return ModelTeacher(
            self.teacher_model,
            prompt=self.teacher_prompt,
            views=views,
            layers=layers,
            max_bytes=max_bytes,
            front=front_ids(self.teacher_model.tokenizer, self.framing),
            check=self.run.check,
        )

    @cached_property
    def framing(self) -> Framing:
        """What the teacher reads in front of an item."""
        return Framing.of(
            self.spec.teacher.context,
            datasets=self.run.datasets,
            dataset=self.texts.name,
            seed=self.spec.data_seed,
            template=self._template_of_texts,
        )

    def require_equal_tokenizers(self) -> None:
        """Raise InvalidRequest if logits of the teacher would be compared with those of other tokens."""
        own, name = tokenizer_sha256(self.model.tokenizer), self.spec.model
        if self.teacher_model is not None:
            if tokenizer_sha256(self.teacher_model.tokenizer) != own:
                raise InvalidRequest(
                    f"Expected a teacher with the tokenizer of {name}; {self.teacher_model.card.name} has another one.",
                    loc=("teacher", "model"),
                )
        elif views_of(self.spec.loss) and (self.texts.traces or {}).get("tokenizer_sha256") != own:
            raise InvalidRequest(
                f"Expected most probable tokens of the tokenizer of {name}; those of {self.texts.name!r} are of another one.",
                loc=("teacher", "dataset"),
            )

    @property
    def data_sha256(self) -> str:
        """Hash of datasets, teacher's weights and prompt."""
        model, prompt = self.teacher_model, self.teacher_prompt
        other = self.spec.eval.other
        if model is None and self.texts.name == self.dataset.name and other is None:
            return self.dataset.sha256
        revision = None if model is None else model.card.revision
        parts = [self.dataset.sha256, self.texts.sha256, revision, None if prompt is None else prompt_digest(prompt)]
        if other is not None:
            parts.append(self.run.datasets.get(other.dataset).sha256)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    # --- training ---

    def training_examples(self) -> list[EncodedExample]:
        """The target of each training lesson, as it is before any step is removed."""
        return [fixed_part(lesson, target=self.spec.target) for lesson in self.lessons("train")]

    def validation_examples(self) -> list[EncodedExample]:
        """The targets of the validation lessons; of a removal, as they are at the last update."""
        lessons, part = self.lessons("validation"), self.spec.target.part
        if not isinstance(part, Removal):
            return [fixed_part(lesson, target=self.spec.target) for lesson in lessons]
        n = self._removal(part).n_removed(self.spec.optimizer.steps - 1)
        return [removed_part(lesson, removal=part, n=n) for lesson in lessons]

    def criterion(self) -> Criterion | None:
        """The weighted losses; None for plain cross-entropy."""
        if list(self.spec.loss) == [SequenceLoss(kind="sequence")]:
            return None
        return DistillationLoss(self.spec.loss, teacher=self.teacher)

    def curriculum(self) -> Curriculum | None:
        """The removal of steps, if the target has one."""
        part = self.spec.target.part
        return self._removal(part) if isinstance(part, Removal) else None

    def sampler(self) -> Sampler | None:
        """Samples the share of the targets that is on-policy."""
        if self.spec.on_policy == 0:
            return None
        return StudentSampler(
            self.model,
            lessons=self.lessons("train"),
            share=self.spec.on_policy,
            max_tokens=self.spec.eval.max_tokens or self._longest_target,
            n_teacher_positions=self._n_teacher_positions,
            seed=self.spec.data_seed,
            prompt_of=self.prompt,
            limits=engine_limits(self.run.settings),
            check=self.run.check,
        )

    @property
    def has_independent_members(self) -> bool:
        """Members that sample their own targets do so in one batch, so they are not independent."""
        return super().has_independent_members and self.spec.on_policy == 0

    def lessons(self, split: Split) -> list[Lesson]:
        """The teacher's texts of a split: all for training, otherwise those that are evaluated; empty if there are none."""
        if split not in self._lessons:
            self._lessons[split] = self._read_lessons(split) if self.texts.splits.get(split, 0) else []
        return self._lessons[split]

    def _removal(self, part: Removal) -> RemovalCurriculum:
        lessons, batch_size = self.lessons("train"), self.spec.optimizer.batch_size
        return RemovalCurriculum(lessons, removal=part, batch_size=batch_size, seed=self.spec.data_seed)

    def _read_lessons(self, split: Split) -> list[Lesson]:
        is_train = split == "train"
        n = None if is_train else self.spec.eval.n
        examples = self.run.datasets.examples(
            self.texts.name,
            split=split,
            n=n,
            seed=None if n is None else EVAL_SEED,
            template=self._template_of_texts,
        )
        lessons = self._reader.read(examples, split=split, log=self.warn)
        if isinstance(self.teacher, FileTeacher):
            # In the order of the file, which is read once.
            for lesson in lessons:
                self.teacher.teaching(lesson)
        return lessons

    @cached_property
    def _reader(self) -> LessonReader:
        inputs = TeacherInputs(model=self.teacher_model, framing=self.framing, n_positions=self._n_teacher_positions)
        return LessonReader(
            self.model,
            spec=self.spec,
            max_tokens=self.model.n_positions - self.spec.method.n_positions,
            teacher=inputs,
            top_tokens=self._top_tokens,
        )

    @property
    def _n_teacher_positions(self) -> int:
        model, prompt = self.teacher_model or self.model, self.teacher_prompt
        return model.n_positions - (0 if prompt is None else prompt.n_virtual)

    @property
    def _longest_target(self) -> int:
        return max((len(lesson.target_ids) for lesson in self.lessons("train")), default=1)

    @cached_property
    def _top_tokens(self) -> TopTokensReader | None:
        if self.spec.teacher.runs or not views_of(self.spec.loss):
            return None
        store = TraceStore(self.run.artifacts, max_bytes=self.run.settings.max_dataset_bytes)
        return store.top_tokens(self.texts.name)

    @property
    def _template_of_texts(self) -> Any:
        return self.spec.template if self.texts.name == self.spec.dataset else None

    # --- evaluation ---

    @property
    def metrics(self) -> Sequence[str]:
        """The metrics of the spec, counts of tokens and, if a model is the teacher, the agreement with it."""
        agreement = AGREEMENT_METRICS if self.teacher_model is not None else ()
        loss = () if self.spec.eval.other is None or "loss" in self.spec.eval.metrics else ("loss",)
        return (*super().metrics, *TOKEN_COUNTS, *agreement, *loss)

    def other_items(self) -> list[EvalExample]:
        """Text of another domain that the teacher can read as well; all of it if the teacher can read none."""
        other, teacher = self.spec.eval.other, self._evaluated_teacher
        if other is None:
            return []
        n_room = self.model.n_positions - self.spec.method.n_positions
        if teacher is not None:
            n_room = min(n_room, teacher.n_positions - teacher.n_in_front)
        found = read_eval_examples(
            self.run.datasets,
            other.dataset,
            model=self.model,
            split=other.split or "test",
            n=other.n,
            seed=EVAL_SEED,
            template=other.template,
            n_virtual=self.model.n_positions - max(n_room, MIN_TEXT_TOKENS),
            log=self.warn,
        )
        examples = loss_examples(found)
        readable = [] if teacher is None else [each for each in examples if teacher.framed_other(each) is not None]
        if teacher is not None and len(readable) < len(examples):
            self.warn(
                f"The teacher cannot read {len(examples) - len(readable)} of {len(examples)} examples of {other.dataset}."
            )
        return readable or examples

    @cached_property
    def _evaluated_teacher(self) -> EvaluatedTeacher | None:
        model = self.teacher_model
        if model is None:
            return None
        return EvaluatedTeacher(model=model, prompt=self.teacher_prompt, framing=self.framing)

    def evaluator(self, prompts: Mapping[str, Prompt | None]) -> RowEvaluator:
        """Evaluator of prompts and, if a model is the teacher, of the teacher."""
        return DistillEvaluator(
            self.model,
            prompts=prompts,
            teacher=self._evaluated_teacher,
            metrics=self.spec.eval.metrics,
            limits=engine_limits(self.run.settings),
            max_tokens=self.spec.eval.max_tokens,
            longest_target=self._longest_target,
            check=self.run.check,
            sampling=self.spec.eval.sampling,
        )
