/** Artifacts of a run, for download. */
import { path } from "../api/client.js";
import { button, h } from "../dom/elements.js";
import { bytes } from "../dom/format.js";
import { empty } from "../dom/states.js";
import { table } from "../dom/table.js";
import { attempt } from "../shell/notices.js";

const COLUMNS = [{ label: "File" }, { label: "Size", class: "number" }, { label: "SHA-256" }, { label: "" }];

export function artifacts({ api, run }) {
  if (!run.artifacts.length) return empty("No artifacts yet", "A run writes most of its artifacts at its end.");
  const rows = run.artifacts.map((file) => [
    h("span", { class: "mono" }, file.path),
    bytes(file.n_bytes),
    h("span", { class: "mono faint", title: file.sha256 }, `${file.sha256.replace("sha256:", "").slice(0, 12)}…`),
    button(
      "Download",
      () => attempt(() => api.download(artifactPath(run.id, file.path), file.path.split("/").at(-1))),
      {
        class: "quiet small",
        "aria-label": `Download ${file.path}`,
      },
    ),
  ]);
  return h("div", { class: "card flush" }, table(COLUMNS, rows, { caption: "Artifacts" }));
}

/** Whether a run has written an artifact. */
export function hasArtifact(run, file) {
  return run.artifacts.some((one) => one.path === file);
}

/** The URL of an artifact: each part of its path is encoded, slashes are kept. */
export function artifactPath(id, file) {
  return `${path`/v1/runs/${id}/artifacts/`}${file.split("/").map(encodeURIComponent).join("/")}`;
}
