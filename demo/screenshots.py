"""`python -m demo.screenshots`: screenshots of the web page for `docs/images`.

It starts a service with an empty store, tunes prompts, creates a map and a report, and opens every view in a headless
Chromium (that of PROMPTATLAS_TEST_CHROMIUM, else the one on the PATH).
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from playwright.sync_api import Page, ViewportSize, sync_playwright
from promptatlas import Client

from demo.browser import FLAGS, find_chromium
from demo.tour.server import running_service

MODEL: Final = "demo"
TEXT: Final = "Mira went to the mill. Hugo is in the cave. Where is Mira?"
TRAJECTORY_TEXT: Final = "Felix picked up the clock. Greta took the flute. Who has the clock?"
SIZE: Final = ViewportSize(width=1360, height=850)
TALL: Final = ViewportSize(width=1360, height=1060)
WAIT_MS: Final = 60_000

TUNING: Final[Mapping[str, Any]] = {
    "model": MODEL,
    "dataset": "demo-qa",
    "name": "qa",
    "method": {"kind": "soft", "n_virtual": 8},
    "priors": [
        {"kind": "isotropic"},
        {"kind": "vocabulary"},
        {"kind": "gaussian", "fit": {"embeddings": {"dataset": "demo-qa"}}},
    ],
    "seeds": [0, 1],
    "optimizer": {"lr": 0.01, "steps": 160, "batch_size": 16},
    "eval": {"every": 20, "n": 60, "max_tokens": 4},
    "snapshots": 16,
}


@dataclass(frozen=True)
class Content:
    """A running service and its content: ids of runs, references of prompts."""

    url: str
    tuning: str
    map_id: str
    report: str
    prompts: tuple[str, ...]


def make(client: Client, url: str) -> Content:
    """Create the content that the screenshots show."""
    tuning = client.runs.create("tune", TUNING, name="three priors, two seeds").wait(progress=False)
    prompts = tuple(tuning.prompts)
    sources = [
        {"embeddings": "vocabulary"},
        *({"dataset": name, "n": 150} for name in ("demo-qa", "demo-cloze", "demo-arithmetic", "demo-text")),
        {"prompts": list(prompts[::2]), "snapshots": True},
        {"trajectories": {"inputs": [TRAJECTORY_TEXT], "max_tokens": 12}},
    ]
    map_spec = {"model": MODEL, "layers": [0, 1, 2, 3, 4, 5], "sources": sources}
    made = client.runs.create("map", map_spec, name="tasks, tokens and prompts").wait(progress=False)
    report_spec = {"model": MODEL, "datasets": ["demo-qa", "demo-cloze", "demo-arithmetic"], "prompts": list(prompts)}
    smaller = {"n": 60, "n_trajectories": 10, "samples": 199, "layers": [0, 2, 4], "title": "Three tasks, six prompts"}
    report = client.runs.create("report", {**report_spec, **smaller}, name="Three tasks, six prompts").wait(
        progress=False
    )
    return Content(url, tuning.id, made.id, report.id, prompts)


def take(page: Page, made: Content, *, output: Path) -> Iterator[Path]:
    """Open every view; yields the path of each screenshot."""

    def shot(name: str) -> Path:
        page.wait_for_timeout(700)
        path = output / f"{name}.png"
        page.screenshot(path=path)
        return path

    def go(place: str) -> None:
        page.goto(f"{made.url}/#/{place}")
        page.reload()

    go(f"atlas/{made.map_id}?layer=0")
    page.wait_for_function("() => performance.getEntriesByName('atlas-painted').length > 0")
    yield shot("atlas")
    go(f"atlas/{made.map_id}?layer=4&colour=source")
    page.select_option("#trajectory-picker", "0")
    for _ in range(14):
        page.get_by_label("One step forward").click()
    yield shot("trajectory")
    go(f"runs/{made.tuning}")
    page.locator(".chart canvas").wait_for()
    page.get_by_label("log scale").check()
    yield shot("run")
    name, _, version = made.prompts[2].partition("@")
    go(f"prompts/{name}/{version}")
    page.get_by_role("table", name="Vectors").wait_for()
    yield shot("prompt")
    go(f"playground?text={quote(TEXT)}&prompts={made.prompts[0]},{made.prompts[2]}&tokens=8")
    page.locator(".lens tbody tr").first.wait_for()
    page.set_viewport_size(TALL)
    yield shot("playground")
    page.set_viewport_size(SIZE)
    go(f"reports/{made.report}?tab=page")
    page.frame_locator("iframe").get_by_role("heading").first.wait_for()
    yield shot("report")


@contextmanager
def browser_page(theme: str) -> Iterator[Page]:
    """A page of a headless Chromium.

    Raises:
        SystemExit: no Chromium was found.
    """
    path = find_chromium()
    if path is None:
        sys.exit("Expected a Chromium on the PATH or in PROMPTATLAS_TEST_CHROMIUM, found none.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        page = browser.new_page(viewport=SIZE, color_scheme="dark" if theme == "dark" else "light")
        page.set_default_timeout(WAIT_MS)
        yield page
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/images"))
    parser.add_argument("--theme", choices=("light", "dark"), default="light")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        environ = {"PROMPTATLAS_HOME": str(Path(folder) / "store")}
        with running_service(environ, log=Path(folder) / "service.log") as url, Client(url) as client:
            made = make(client, url)
            with browser_page(arguments.theme) as page:
                for path in take(page, made, output=arguments.output):
                    print(path)


if __name__ == "__main__":
    main()
