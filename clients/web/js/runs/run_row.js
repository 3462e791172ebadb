/** One run as a row of the list. */
import { bestMember, mainMetric } from "../api/metrics.js";
import { h } from "../dom/elements.js";
import { count, dateTime, duration, number, secondsBetween } from "../dom/format.js";
import { badge, progressBar } from "../dom/table.js";
import { link } from "../shell/router.js";
import { tagLinks } from "./annotation.js";
import { hasEnded, resultLink } from "./results.js";

/** The class and the cells of a row; choice: of its checkbox. */
export function runRow(run, choice) {
  const name = run.name ?? run.id;
  return {
    class: "link",
    cells: [
      choice.box(run.id),
      [
        h("a", { href: link(["runs", run.id]), title: run.notes || null }, name),
        run.name && h("div", { class: "faint small mono" }, run.id),
        run.tags.length > 0 && tagLinks(run.tags),
      ],
      run.kind,
      badge(run.status),
      progress(run, name),
      metric(run.metrics),
      dateTime(run.created_at),
      duration(secondsBetween(run.started_at, hasEnded(run) ? run.ended_at : null)),
    ],
  };
}

function progress(run, name) {
  if (run.status === "queued") return queuePosition(run);
  if (!hasEnded(run)) {
    const { step, total, eta_s: eta } = run.progress;
    return [
      progressBar(run.progress, `Progress of ${name}`),
      h(
        "span",
        { class: "small muted number" },
        total ? `${number(step)} of ${number(total)}` : `step ${number(step)}`,
        eta !== null && h("span", { class: "eta" }, ` · ${duration(eta)} left`),
      ),
    ];
  }
  if (run.error) return run.error;
  const result = resultLink(run);
  if (result) return h("a", { href: result.href }, result.label);
  return run.prompts.length ? count(run.prompts.length, "prompt") : "";
}

function queuePosition({ queue_position: position }) {
  if (position === null) return "waiting for a worker";
  return position === 0 ? "next in the queue" : `${count(position, "run")} ahead`;
}

function metric(metrics) {
  const name = mainMetric(metrics);
  if (!name) return "";
  const best = bestMember(metrics);
  const owner = best && h("span", { class: "interval" }, best.member ?? "", ` best of ${best.n}`);
  return [number(metrics[name], 3), h("span", { class: "interval" }, name), owner];
}
