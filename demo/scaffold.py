"""The scaffold: header lines with which the model was trained to solve a task instead of continuing the text."""

from typing import Final, Literal

Task = Literal["qa", "cloze", "arithmetic", "arithmetic-cot", "text", "chain", "chain-cot", "chain-brief"]
TASKS: Final[tuple[Task, ...]] = ("qa", "cloze", "arithmetic", "arithmetic-cot", "text")
"""The tasks of the demo model and of the built-in datasets."""
CHAIN_TASKS: Final[tuple[Task, ...]] = ("chain", "chain-cot", "chain-brief")
"""The further tasks of the steps model: the result at once, after all steps, after brief steps."""
STEPPED: Final[frozenset[Task]] = frozenset({"arithmetic-cot", "chain-cot", "chain-brief"})
"""Tasks whose targets are steps with the result as their last word."""

# One example follows the header, then end of text.
HEADERS: Final[dict[Task, tuple[str, ...]]] = {
    "qa": ("Answer the question in a word.", "Read and answer.", "Give a short answer to the question."),
    "cloze": ("Fill the gap.", "Write the missing word.", "Say which word belongs in the gap."),
    "arithmetic": ("Give the result.", "Say only what it makes.", "Calculate at once."),
    "arithmetic-cot": ("Work it out step by step.", "Show the steps, then the result.", "Calculate in steps."),
    "text": ("Go on with the story.", "Tell what comes next.", "Write a story."),
    "chain": ("Say only who has it.", "Pass it on at once.", "Name the last hand."),
    "chain-cot": ("Pass it on step by step.", "Show every step to the end.", "Follow it in steps."),
    "chain-brief": ("Be brief and pass it on.", "Show all hands to the end.", "Follow it in short."),
}
# Several examples follow the header, one per line.
HEADERS_OF_MANY: Final[dict[Task, str]] = {
    "qa": "Answer every question in a word.",
    "cloze": "Fill all the gaps.",
    "arithmetic": "Give all the results.",
    "arithmetic-cot": "Work all of it out step by step.",
    "chain": "Say who has all of them.",
    "chain-cot": "Pass all of them on step by step.",
    "chain-brief": "Be brief and pass all of them on.",
}
# These are not tasks. The corpus has them because they train the lookup.
HEADER_OF_ECHO: Final = "Say it again."
HEADER_OF_LIST: Final = "Keep the list."


def under_header(body: str, *, header: str) -> str:
    """The body with the header line in front. This is the only difference between inputs with and without scaffold."""
    return f"{header}\n{body}"
