/** The list of datasets. */
import { button, h, setChildren } from "../dom/elements.js";
import { bytes, dateTime, number } from "../dom/format.js";
import { empty, fill } from "../dom/states.js";
import { SortedTable } from "../dom/sorting.js";
import { link } from "../shell/router.js";
import { acceptDrops, openUpload } from "./upload.js";

const SPLITS = ["train", "validation", "test"];
const COLUMNS = [
  { label: "Dataset", value: (row) => row.name },
  { label: "Format", value: (row) => row.format },
  { label: "Train", class: "number", value: (row) => row.splits.train ?? 0 },
  { label: "Validation", class: "number", value: (row) => row.splits.validation ?? 0 },
  { label: "Test", class: "number", value: (row) => row.splits.test ?? 0 },
  { label: "Size", class: "number", value: (row) => row.n_bytes },
  { label: "Created", value: (row) => row.created_at },
];

export async function showDatasets({ root, api, catalogue, signal }) {
  const search = h("input", { type: "search", placeholder: "Filter by name", "aria-label": "Filter datasets" });
  const upload = () => button("Upload a dataset", () => openUpload({ api, catalogue }), { class: "primary" });
  const container = h("div", {});
  const title = h(
    "div",
    {},
    h("h1", {}, "Datasets"),
    h("p", { class: "muted" }, "Texts, or inputs with targets. Drop a file anywhere on this page to store it."),
  );
  const view = h(
    "div",
    { class: "view" },
    h("header", {}, title, h("div", { class: "row" }, search, upload())),
    container,
  );
  acceptDrops(view, (file) => openUpload({ api, catalogue, file }));
  setChildren(root, view);
  await fill(
    container,
    async () => {
      const rows = await catalogue.datasets();
      return rows.length
        ? listing(rows, search)
        : empty("No datasets yet", "Upload a CSV or JSON lines file with inputs and targets.", { action: upload() });
    },
    { signal },
  );
}

function listing(rows, search) {
  const sorted = new SortedTable({ columns: COLUMNS, line, caption: "Datasets" });
  const show = () => {
    const words = search.value.toLowerCase();
    sorted.show(rows.filter((row) => row.name.toLowerCase().includes(words)));
  };
  search.addEventListener("input", show);
  show();
  return sorted.element;
}

function line(row) {
  return {
    class: "link",
    cells: [
      h("a", { href: link(["datasets", row.name]) }, row.name),
      row.traces ? "samples of a model" : row.format,
      ...SPLITS.map((split) => number(row.splits[split] ?? 0)),
      bytes(row.n_bytes),
      row.builtin ? "built in" : dateTime(row.created_at),
    ],
  };
}
