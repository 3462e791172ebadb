"""The usual scaffold: the header lines under which the model was taught to do a task rather than to tell on."""

from typing import Final, Literal

Task = Literal["qa", "cloze", "arithmetic", "arithmetic-cot", "text"]
TASKS: Final[tuple[Task, ...]] = ("qa", "cloze", "arithmetic", "arithmetic-cot", "text")

# One example below the header, then end of text.
HEADERS: Final[dict[Task, tuple[str, ...]]] = {
    "qa": ("Answer the question in a word.", "Read and answer.", "Give a short answer to the question."),
    "cloze": ("Fill the gap.", "Write the missing word.", "Say which word belongs in the gap."),
    "arithmetic": ("Give the result.", "Say only what it makes.", "Calculate at once."),
    "arithmetic-cot": ("Work it out step by step.", "Show the steps, then the result.", "Calculate in steps."),
    "text": ("Go on with the story.", "Tell what comes next.", "Write a story."),
}
# Several examples below the header, one a line.
HEADERS_OF_MANY: Final[dict[Task, str]] = {
    "qa": "Answer every question in a word.",
    "cloze": "Fill all the gaps.",
    "arithmetic": "Give all the results.",
    "arithmetic-cot": "Work all of it out step by step.",
}
# No tasks of their own, but the corpus has them, since they teach looking up.
HEADER_OF_ECHO: Final = "Say it again."
HEADER_OF_LIST: Final = "Keep the list."


def under_header(body: str, *, header: str) -> str:
    """The body with the header line in front of it. Nothing else distinguishes a scaffolded input from a plain one."""
    return f"{header}\n{body}"
