/** Runs view: the list, one run, or the form of a new one. */
import { showRunComparison } from "./compare.js";
import { showRun } from "./run.js";
import { showRuns } from "./list.js";

export async function view(context) {
  const [, id] = context.route.parts;
  if (id === "new") return (await import("../new_run/view.js")).showNewRun(context);
  if (id === "compare") return showRunComparison(context);
  return id ? showRun(context, id) : showRuns(context);
}
