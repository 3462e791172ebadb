"""Rules that find the final answer in a generated text."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from promptatlas.types.wire import RequestBody


class AfterMarker(RequestBody):
    """The rest of the line after the last occurrence of a marker, e.g. GSM8K's ``####``."""

    find: Literal["after"]
    after: str = Field(default="####", min_length=1, max_length=64)


class LastNumber(RequestBody):
    """The last number of the text."""

    find: Literal["last_number"]


class PatternMatch(RequestBody):
    """The last match of a regular expression; of its first group, if it has one.

    pattern: in the syntax of RE2, which has no look-around and no back-references and matches in linear time.
    """

    find: Literal["pattern"]
    pattern: str = Field(min_length=1, max_length=1024)


AnswerRule = Literal["whole"] | Annotated[AfterMarker | LastNumber | PatternMatch, Field(discriminator="find")]
"""Where the final answer of a generated text is. ``whole``: the text without spaces at its ends."""
