/** Datasets view: the list, or one dataset. */
import { showDataset } from "./dataset.js";
import { showDatasets } from "./list.js";

export function view(context) {
  return context.route.parts[1] ? showDataset(context, context.route.parts[1]) : showDatasets(context);
}
