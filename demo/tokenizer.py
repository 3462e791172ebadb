"""The tokenizer: byte-level BPE trained on the corpus. Digits are single tokens, and every byte string round-trips."""

import random
from collections.abc import Iterator
from typing import Final

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from demo.corpus import draw_document, plain_text, vocabulary_text
from demo.scaffold import HEADERS

END_OF_TEXT: Final = "<|endoftext|>"
N_VOCABULARY: Final = 1024
MAX_LENGTH: Final = 512

# A chat's last user message, after the system message or else the header of the task that matches it.
CHAT_TEMPLATE: Final = (
    "{%- set ns = namespace(header='', body='') -%}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}{%- set ns.header = message['content'] -%}{%- endif -%}"
    "{%- if message['role'] == 'user' -%}{%- set ns.body = message['content'] | trim -%}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if not ns.header -%}"
    "{%- if '___' in ns.body -%}{%- set ns.header = '" + HEADERS["cloze"][0] + "' -%}"
    "{%- elif ns.body.endswith('=') -%}{%- set ns.header = '" + HEADERS["arithmetic-cot"][0] + "' -%}"
    "{%- elif ns.body.endswith('?') -%}{%- set ns.header = '" + HEADERS["qa"][0] + "' -%}"
    "{%- else -%}{%- set ns.header = '" + HEADERS["text"][0] + "' -%}{%- endif -%}"
    "{%- endif -%}"
    "{{- ns.header + '\n' + ns.body -}}"
)


def train_tokenizer(seed: int, *, n_documents: int = 6000) -> PreTrainedTokenizerFast:
    """A tokenizer for the corpus of `seed`; end of text is also the padding token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=N_VOCABULARY,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(seed, n_documents=n_documents), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def _texts(seed: int, *, n_documents: int) -> Iterator[str]:
    rng = random.Random(f"tokenizer-{seed}")
    for _ in range(n_documents):
        yield plain_text(draw_document(rng))
    for _ in range(20):
        yield vocabulary_text()
