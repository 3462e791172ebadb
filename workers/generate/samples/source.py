"""Interface of the models that samples come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from workers.generate.samples.requests import SampleRequest
from workers.generate.samples.trace import Samples


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What samples depend on besides the spec and the dataset.

    model: its name. revision: of its weights. tokenizer_sha256: of its tokenizer. teacher: name of the endpoint.
    prompts: ``name@version`` of each prompt. prompts_sha256: of their values. None: unknown, or none.
    """

    model: str
    revision: str | None = None
    tokenizer_sha256: str | None = None
    teacher: str | None = None
    prompts: tuple[str | None, ...] = (None,)
    prompts_sha256: tuple[str | None, ...] = (None,)

    def header(self, *, k: int) -> Mapping[str, Any]:
        """Header of files of most probable tokens."""
        return {
            "k": k,
            "model": self.model,
            "revision": self.revision,
            "tokenizer_sha256": self.tokenizer_sha256,
            "teacher": self.teacher,
        }


class SampleSource(Protocol):
    """A model that generates samples."""

    @property
    def identity(self) -> Identity:
        """The model and the prompts."""

    def generate(self, requests: Sequence[SampleRequest]) -> Samples:
        """One sample per request, in order; those whose input leaves no room for a token are left out.

        Raises:
            AtlasError: The requests cannot be carried out.
        """
