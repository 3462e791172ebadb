"""`make demo`: a tour of the running service on the demo model, in half a minute.

Starts a service with an empty store, uploads prompts of every kind, asks the same questions under all of them at once,
looks at activations and trajectories, saves a picture, and stops the service again.
"""

import argparse
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from promptatlas import Client, PromptAtlasError
from promptatlas.types import ModelCard
from rich.console import Console
from tokenizers import Tokenizer

from demo.scaffold import HEADERS, under_header
from demo.tasks import Example, examples
from demo.tour.asking import Way, ask_all
from demo.tour.making import MadePrompt, Rotary, make_prompts
from demo.tour.picture import save_picture
from demo.tour.server import ServiceDidNotStart, running_service
from demo.tour.states import last_states, walks
from demo.tour.telling import Teller

MODEL: Final = "demo"
HEADER: Final = HEADERS["qa"][0]
N_QUESTIONS: Final = 24
N_SHOWN: Final = 2
MAX_WALK_TOKENS: Final = 8
INTERRUPTED: Final = 130


@dataclass(frozen=True)
class Stage:
    """Where the tour takes place, and with what."""

    url: str
    client: Client
    card: ModelCard
    teller: Teller
    questions: tuple[Example, ...]
    model_folder: Path
    seed: int

    @property
    def layer(self) -> int:
        """The one that is looked at: in the upper half, where the answer takes shape."""
        return 2 * self.card.n_layers // 3


def run(*, model_folder: Path, output: Path, seed: int, console: Console) -> Path:
    """The whole tour; returns the picture's path."""
    _empty(output)
    teller = Teller(console)
    teller.line(f"Starting a service on {model_folder} with an empty store under {output} …")
    environ = {"PROMPTATLAS_MODELS": f"{MODEL}={model_folder.resolve()}", "PROMPTATLAS_HOME": str(output / "store")}
    # Room for all the rows of the second stop in one batch.
    environ["PROMPTATLAS_MAX_BATCH"] = "256"
    with running_service(environ, log=output / "service.log") as url, Client(url, progress=False) as client:
        card = client.models.get(MODEL)
        teller.model(card, url=url)
        questions = examples("qa", split="test", n=N_QUESTIONS, seed=seed, scaffold=False)
        stage = Stage(url, client, card, teller, questions, model_folder, seed)
        made = _upload(stage)
        ways = _ways(made)
        _ask(stage, ways)
        picture = _look(stage, ways, output=output)
    teller.line(f"\nThe service has stopped. Picture: [bold]{picture}[/]; its log: {output / 'service.log'}")
    return picture


def _empty(output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(output / "store", ignore_errors=True)


def _upload(stage: Stage) -> tuple[MadePrompt, ...]:
    stage.teller.heading(
        1,
        "Prompts of every kind",
        lead=f"The model was taught to answer under a header line such as [italic]{HEADER}[/] Here that line becomes tuned-"
        "prompt files, each made from the model's own states for it (no training yet); noise is for comparison.",
    )
    rotary = Rotary.of_model(stage.model_folder)
    made = make_prompts(
        stage.client, stage.card, header=under_header("", header=HEADER), rotary=rotary, seed=stage.seed
    )
    stored = [
        stage.client.prompts.upload(one.name, tensors=one.tensors, where=one.where, base=MODEL, notes=one.meaning)
        for one in made
    ]
    stage.teller.prompts(made, stored=stored)
    return made


def _ways(made: tuple[MadePrompt, ...]) -> tuple[Way, ...]:
    mix = {"mix": [{"ref": "header-soft", "weight": 0.7}, {"ref": "noise", "weight": 0.3}]}
    return (
        Way("bare"),
        Way("header typed", header=HEADER),
        *(Way(one.name, prompt=one.name) for one in made),
        Way("mix", mix),
    )


def _ask(stage: Stage, ways: tuple[Way, ...]) -> None:
    stage.teller.heading(
        2,
        "The same questions, asked every way at once",
        lead="Held-out questions without their header. [bold]bare[/] is the model alone, [bold]header typed[/] puts the line "
        "in front as text, [bold]mix[/] is 0.7 header-soft + 0.3 noise, made on the fly. Cut answers end in …",
    )
    answers = ask_all(stage.url, model=MODEL, ways=ways, examples=stage.questions)
    stage.teller.answers(answers, ways=ways, examples=stage.questions, n_shown=N_SHOWN)


def _look(stage: Stage, ways: tuple[Way, ...], *, output: Path) -> Path:
    layer = stage.layer
    stage.teller.heading(
        3,
        "Activations under each prompt",
        lead="The state at the last token of each question, where the answer is about to be chosen. Distance from the state with "
        "the header typed; 1 is the mean distance between two questions.",
    )
    last = last_states(stage.client, model=MODEL, layer=layer, ways=ways, examples=stage.questions)
    stage.teller.states(last, ways=ways)
    stage.teller.heading(
        4,
        "Trajectories",
        lead=f"One question, and the state of every token as it is read and written, at layer {layer}: without a prompt, and "
        "under header-soft. Each state is a point; its step is the distance from the one before.",
    )
    chosen = [way for way in ways if way.label in ("bare", "header-soft")]
    question = stage.questions[0].input
    found = walks(stage.client, model=MODEL, layer=layer, ways=chosen, question=question, max_tokens=MAX_WALK_TOKENS)
    tokenizer = Tokenizer.from_file(str(stage.model_folder / "tokenizer.json"))
    texts = [[tokenizer.decode([i], skip_special_tokens=False) for i in walk.token_ids] for walk in found]
    for walk, own in zip(found, texts, strict=True):
        stage.teller.walk(walk, texts=own)
    picture = output / "picture.png"
    save_picture(picture, last=last, walks=found, token_texts=texts)
    return picture


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path(__file__).resolve().parent / "model")
    parser.add_argument("--output", type=Path, default=Path("demo-output"))
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    # As Ctrl-C: blocks are left in order, and the service with them.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(width=None if sys.stdout.isatty() else 120, soft_wrap=False)
    try:
        run(model_folder=chosen.model, output=chosen.output, seed=chosen.seed, console=console)
    except KeyboardInterrupt:
        console.print("interrupted; the service has been stopped")
        return INTERRUPTED
    except (ServiceDidNotStart, PromptAtlasError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
