/** Reports view: the list, or one report. */
import { showReport } from "./report.js";
import { showReports } from "./list.js";

export function view(context) {
  return context.route.parts[1] ? showReport(context, context.route.parts[1]) : showReports(context);
}
