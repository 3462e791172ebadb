/** The files that a run has left. */
import { path } from "../api/client.js";
import { button, h } from "../dom/elements.js";
import { bytes } from "../dom/format.js";
import { empty } from "../dom/states.js";
import { table } from "../dom/table.js";
import { attempt } from "../shell/notices.js";

const COLUMNS = [{ label: "File" }, { label: "Size", class: "number" }, { label: "SHA-256" }, { label: "" }];

export function artifacts({ api, run }) {
  if (!run.artifacts.length)
    return empty("No files yet", "A run leaves its files here while it works, most of them at its end.");
  const rows = run.artifacts.map((file) => [
    h("span", { class: "mono" }, file.path),
    bytes(file.n_bytes),
    h("span", { class: "mono faint", title: file.sha256 }, `${file.sha256.replace("sha256:", "").slice(0, 12)}…`),
    button("Save", () => attempt(() => api.download(artifactPath(run.id, file.path), file.path.split("/").at(-1))), {
      class: "quiet small",
      "aria-label": `Save ${file.path}`,
    }),
  ]);
  return h("div", { class: "card flush" }, table(COLUMNS, rows, { caption: "Artifacts" }));
}

/** The address of an artifact; its path may hold anything but keeps its slashes. */
export function artifactPath(id, file) {
  return `${path`/v1/runs/${id}/artifacts/`}${file.split("/").map(encodeURIComponent).join("/")}`;
}
