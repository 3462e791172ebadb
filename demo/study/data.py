"""The real datasets of a study, cut to a size that two cores can train on.

What is cut: contexts of SQuAD to the sentences around the answer, since the time of a step is proportional to the number of
tokens, and validation splits to a few records, since each validation costs as much as several steps.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from promptatlas import Client

from demo.real.arithmetic import arithmetic, arithmetic_files
from demo.real.datasets import RealDataset
from demo.real.folder import require
from demo.real.gsm8k import gsm8k, gsm8k_files
from demo.real.squad import Counter, squad, squad_files
from demo.real.wikitext import wikitext, wikitext_cloze, wikitext_files
from demo.study.plan import Size

N_CHAINS: Final = 1500
"""Problems of GSM8K, which are read but not trained on."""


@dataclass(frozen=True)
class StudyData:
    """Question answering, arithmetic, running text, cloze and reasoning chains from the user's folder."""

    def require(self, folder: Path) -> None:
        """Check that all files exist.

        Raises:
            MissingData: one sentence says which files belong where.
        """
        require(folder, files=[*squad_files(), *arithmetic_files(), *wikitext_files(), *gsm8k_files()])

    def upload(self, client: Client, *, folder: Path, count: Counter, size: Size) -> Mapping[str, int]:
        """Store all datasets on the server; returns the number of records by dataset.

        count: number of tokens of a text.

        Raises:
            DataError: a file is missing or has another layout.
        """
        read = self.read(folder, count=count, max_context=size.max_context)
        return {
            one.name: one.upload(client).n_records
            for one in (cut(each, n_validation=size.n_validation) for each in read)
        }

    def read(self, folder: Path, *, count: Counter, max_context: int) -> Iterator[RealDataset]:
        """All datasets. count: number of tokens of a text. max_context: tokens of a context."""
        yield squad(folder, max_tokens=max_context, count=count)
        yield arithmetic(folder)
        yield wikitext(folder)
        yield wikitext_cloze(folder)
        yield gsm8k(folder, n=N_CHAINS)


def cut(dataset: RealDataset, *, n_validation: int) -> RealDataset:
    """The dataset with at most ``n_validation`` records in its validation split."""
    kept = {id(record) for record in dataset.of("validation")[:n_validation]}
    records = tuple(one for one in dataset.records if one["split"] != "validation" or id(one) in kept)
    n_cut = len(dataset.records) - len(records)
    return replace(dataset, records=records, n_left_out=dataset.n_left_out + n_cut)
