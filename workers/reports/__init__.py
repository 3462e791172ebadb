"""The paper's findings (arXiv 2412.18582), measured on a model, prompts and datasets of one's own.

``gathering`` and ``reading`` collect the evidence, one file a question turns it into numbers, ``verdicts`` into an answer by
a rule that is written out, ``figures`` and ``page`` into something to look at.
"""
