/** The list of runs, newest first, kept up to date. */
import { h, put, select } from "../dom/elements.js";
import { between, duration, moment, number } from "../dom/format.js";
import { every } from "../dom/polling.js";
import { empty, fill } from "../dom/states.js";
import { badge, meter, table } from "../dom/table.js";
import { link, remember } from "../shell/router.js";

const LOOK_EVERY_MS = 2500;
const KINDS = ["tune", "evaluate", "sample", "harvest", "map", "report"];
const STATUSES = ["queued", "running", "succeeded", "failed", "cancelled"];
const COLUMNS = [
  { label: "Run" },
  { label: "Kind" },
  { label: "Status" },
  { label: "Progress" },
  { label: "Outcome", class: "number" },
  { label: "Made" },
  { label: "Took", class: "number" },
];

export async function showRuns({ root, route, api, signal }) {
  const query = { kind: route.query.get("kind") ?? "", status: route.query.get("status") ?? "" };
  const place = h("div", {});
  const change = (name) => (value) => {
    query[name] = value;
    remember({ [name]: value });
    fill(place, load, { signal });
  };
  const kind = select([["", "every kind"], ...KINDS], {
    value: query.kind,
    onchange: change("kind"),
    "aria-label": "Kind",
  });
  const status = select([["", "every status"], ...STATUSES], {
    value: query.status,
    onchange: change("status"),
    "aria-label": "Status",
  });
  const load = async () => listing(await api.get("/v1/runs", { ...query, limit: 100 }, { signal }), query);
  const title = h(
    "div",
    {},
    h("h1", {}, "Runs"),
    h("p", { class: "muted" }, "Tuning, evaluations, harvests, maps and reports: long work, on the workers."),
  );
  put(root, h("div", { class: "view" }, h("header", {}, title, h("div", { class: "row" }, kind, status)), place));
  await fill(place, load, { signal });
  every(LOOK_EVERY_MS, () => renew(place, load), signal);
}

/** Renews quietly: an error now and then is not worth losing the list for, and neither is the focus. */
async function renew(place, load) {
  try {
    const focused = place.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    put(place, await load());
    if (focused) place.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  } catch (error) {
    if (!["AbortError", "ApiError"].includes(error.name)) console.error(error);
  }
}

function listing(page, query) {
  if (page.data.length)
    return h("div", { class: "card flush" }, table(COLUMNS, page.data.map(row), { caption: "Runs" }));
  if (query.kind || query.status)
    return empty("No such run", "No run is of this kind and status. Choose others above.");
  return empty(
    "Nothing has run yet",
    "Tune a first prompt: two starts, two seeds, all four trained side by side in one frozen model.",
    {
      command: `curl -s ${location.origin}/v1/runs -H 'Content-Type: application/json' -d '{"kind": "tune", "name": "two starts",\n  "spec": {"model": "demo", "dataset": "demo-qa", "name": "qa", "seeds": [0, 1],\n    "priors": [{"kind": "isotropic"}, {"kind": "vocabulary"}], "optimizer": {"lr": 0.01, "steps": 200}}}'`,
    },
  );
}

function row(run) {
  const isOver = !["queued", "running"].includes(run.status);
  const name = h("a", { href: link(["runs", run.id]) }, run.name ?? run.id);
  return {
    class: "link",
    cells: [
      [name, run.name && h("div", { class: "faint small mono" }, run.id)],
      run.kind,
      badge(run.status),
      run.status === "queued"
        ? queued(run)
        : isOver
          ? (run.error ?? prompts(run))
          : [
              meter(run.progress),
              h(
                "span",
                { class: "small muted number" },
                `${number(run.progress.step)} of ${number(run.progress.total)} · ${duration(run.progress.eta_s)} left`,
              ),
            ],
      outcome(run),
      moment(run.created_at),
      duration(between(run.started_at, isOver ? run.ended_at : null)),
    ],
  };
}

function queued(run) {
  if (run.queue_position === null) return "waits for a worker";
  return run.queue_position === 0 ? "is next" : `${run.queue_position} before it`;
}

function prompts(run) {
  if (run.kind === "map" && run.status === "succeeded")
    return h("a", { href: link(["atlas", run.id]) }, "Look at the map");
  if (run.kind === "report" && run.status === "succeeded")
    return h("a", { href: link(["reports", run.id]) }, "Read the report");
  return run.prompts.length ? `${number(run.prompts.length)} ${run.prompts.length === 1 ? "prompt" : "prompts"}` : "";
}

function outcome(run) {
  const names = Object.keys(run.metrics);
  const best = ["test/exact_match", "test/f1", "test/accuracy", "test/loss", "validation/loss"].find((name) =>
    names.includes(name),
  );
  return best ? [number(run.metrics[best], 3), h("span", { class: "interval" }, best)] : "";
}
