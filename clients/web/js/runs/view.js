/** Runs view: the list, or one run. */
import { showRun } from "./run.js";
import { showRuns } from "./list.js";

export function view(context) {
  return context.route.parts[1] ? showRun(context, context.route.parts[1]) : showRuns(context);
}
