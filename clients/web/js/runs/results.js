/** Views that show what a run of a kind has produced. */
import { link } from "../shell/router.js";

const VIEWS = {
  map: { view: "atlas", label: "Open the map" },
  report: { view: "reports", label: "Open the report" },
};

/** @returns {?{href: string, label: string}} a link to the result of a succeeded run; null if no view shows it */
export function resultLink(run) {
  if (run.status !== "succeeded" || !Object.hasOwn(VIEWS, run.kind)) return null;
  const { view, label } = VIEWS[run.kind];
  return { href: link([view, run.id]), label };
}

/** Whether a run has ended, with or without success. */
export function hasEnded(run) {
  return !["queued", "running"].includes(run.status);
}
