"""Tests of the datasets view: list, rows, tokens, templates, uploads and deletion."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from playwright.sync_api import Locator, Page, expect
from tokenizers import Tokenizer

from tests.clients.web.conftest import OpenPage
from tests.clients.web.test_manners import unnamed
from tests.clients.web.world import World
from tests.integration.running import ROOT

RECORDS = [
    {"question": 'Who said "hi, you"?', "answer": "Mira"},
    {"question": "Two\nlines, one record", "answer": "Felix"},
    *({"question": f"What is {i} plus 1?", "answer": str(i + 1)} for i in range(30)),
]


def as_csv(records: list[dict[str, str]]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(records[0]))
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue().encode()


def upload(page: Page, name: str, content: bytes) -> Locator:
    """Choose a file in the dialog; the dialog."""
    page.get_by_role("button", name="Upload a dataset").first.click()
    dialog = page.get_by_role("dialog", name="New dataset")
    dialog.locator("input[type=file]").set_input_files({"name": name, "mimeType": "text/plain", "buffer": content})
    return dialog


def test_the_list_shows_every_dataset_with_its_splits(open_page: OpenPage, world: World) -> None:
    page = open_page("datasets")
    rows = world.get("/v1/datasets", limit=100)["data"]
    for row in rows:
        line = page.get_by_role("row").filter(has=page.get_by_role("link", name=row["name"], exact=True))
        expect(line).to_contain_text(f"{row['splits'].get('train', 0):,}")
    assert unnamed(page) == []
    page.get_by_label("Filter datasets").fill("arithmetic-c")
    expect(page.get_by_role("table").locator("tbody tr")).to_have_count(1)


def test_rows_and_tokens_are_those_of_the_model(open_page: OpenPage, world: World) -> None:
    page = open_page("datasets/demo-qa")
    items = world.get("/v1/datasets/demo-qa", limit=20)["data"]
    rows = page.get_by_role("table", name="Rows").locator("tbody tr")
    expect(rows).to_have_count(20)
    expect(rows.first).to_contain_text(items[0]["input"].strip())
    tokenizer: Any = Tokenizer.from_file(str(ROOT / "demo" / "model" / "tokenizer.json"))
    for k in (0, 3):
        page.get_by_role("button", name=f"Tokens of row {items[k]['index']}", exact=True).click()
        text = items[k]["input"] + items[k]["target"]
        encoding = tokenizer.encode(text)
        expect(page.locator(".row-tokens .token")).to_have_count(len(encoding.ids))
        shown = page.locator(".row-tokens .token").all_inner_texts()
        assert "".join(shown).replace("·", " ").replace("⏎", "\n") == text
        n_target = sum(stop > len(items[k]["input"]) for _, stop in encoding.offsets)
        expect(page.locator(".row-tokens .target")).to_have_count(n_target)
    page.get_by_label("Split").select_option("test")
    expect(rows.first).to_contain_text("test")
    expect(page.get_by_role("button", name="Delete")).to_have_count(0)  # built in


def test_a_csv_file_becomes_a_dataset_and_is_deleted(open_page: OpenPage, world: World) -> None:
    page = open_page("datasets")
    dialog = upload(page, "My Questions (2).csv", as_csv(RECORDS))
    expect(dialog.get_by_label("Name")).to_have_value("my-questions-2-")
    dialog.get_by_label("Name").fill("csv-questions")
    expect(dialog.get_by_label("Format")).to_have_value("csv")
    expect(dialog.get_by_label("Input")).to_have_value("{question} ")
    dialog.get_by_label("Input").fill("Q: {question} A: ")
    expect(dialog.get_by_label("Target")).to_have_value("{answer}")
    assert unnamed(page) == []
    dialog.get_by_role("button", name="Store the dataset").click()
    expect(page.get_by_role("heading", name="csv-questions")).to_be_visible()
    found = world.get("/v1/datasets/csv-questions", limit=100)
    assert [(one["input"], one["target"]) for one in found["data"]] == [
        (f"Q: {one['question']} A: ", one["answer"]) for one in RECORDS
    ]
    page.get_by_label("Template of the input").fill("{question}?? ")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_role("table", name="Rows")).to_contain_text("What is 0 plus 1??? ")
    assert world.get("/v1/datasets/csv-questions")["template"]["input"] == "Q: {question} A: "
    page.get_by_role("link", name="Tune on this").click()
    expect(page.get_by_role("heading", name="New run")).to_be_visible()
    assert json.loads(page.get_by_label("Spec as JSON").input_value())["dataset"] == "csv-questions"
    page.go_back()
    page.get_by_role("button", name="Map this").click()
    expect(page.get_by_role("dialog").get_by_label("csv-questions")).to_be_checked()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="Datasets", exact=True)).to_be_visible()
    assert world.http.get("/v1/datasets/csv-questions").status_code == 404


def test_errors_of_a_file_name_the_line_and_show_it(open_page: OpenPage, world: World) -> None:
    page = open_page("datasets")
    dialog = upload(page, "bad.csv", b"question,answer\nwho,me\nthree,cells,here\n")
    expect(dialog.get_by_role("alert")).to_contain_text("Expected 2 cells, as in the first row; got 3")
    expect(dialog).to_contain_text("Line 3 of bad.csv")
    expect(dialog.locator("pre")).to_have_text("three,cells,here")
    expect(dialog.get_by_role("button", name="Store the dataset")).to_be_disabled()
    dialog.get_by_role("button", name="Cancel").click()
    lines = ['{"input": "a", "target": "b"}'] * 3 + ['{"input": "a"}']
    dialog = upload(page, "bad.jsonl", "\n".join(lines).encode())
    dialog.get_by_role("button", name="Store the dataset").click()
    expect(dialog.get_by_role("alert")).to_contain_text("ine 4")
    expect(dialog.locator("pre")).to_have_text('{"input": "a"}')
    assert "bad" not in [row["name"] for row in world.get("/v1/datasets", limit=100)["data"]]


def test_a_dropped_file_opens_the_dialog(open_page: OpenPage) -> None:
    page = open_page("datasets")
    expect(page.get_by_role("table", name="Datasets")).to_be_visible()
    transfer = page.evaluate_handle("""() => {
      const transfer = new DataTransfer();
      transfer.items.add(new File(['{"input": "a", "target": "b"}'], "dropped.jsonl"));
      return transfer;
    }""")
    for event in ("dragenter", "dragover", "drop"):
        page.dispatch_event(".view", event, {"dataTransfer": transfer})
    dialog = page.get_by_role("dialog", name="New dataset")
    expect(dialog.get_by_label("Name")).to_have_value("dropped")
    expect(dialog.get_by_role("button", name="Store the dataset")).to_be_enabled()
    expect(dialog.get_by_label("Input")).to_be_hidden()  # input and target need no template


def test_csv_is_read_as_by_python(open_page: OpenPage) -> None:
    """The page's reader against Python's ``csv``."""
    page = open_page("datasets")
    texts = [
        'a,b\n1,2\n"x, y","he said ""no"""\n',
        "a,b\r\n1,\r\n,2\r\n",
        '\ufeffa,b\n"two\nlines",end',
        'a\n"with ""quotes"""\n"  spaces "\n',
    ]
    script = """async (text) => (await import("/web/js/datasets/csv.js")).readCsv(text).records"""
    for text in texts:
        expected = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))
        assert page.evaluate(script, text) == expected
