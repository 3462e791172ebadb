/** Metric names of the API: `{split}/{metric}`, `bare/…` without the prompt, `draw/…` before tuning, `teacher/…`, `…_low` and `…_high`. */

const MAIN = ["test/exact_match", "test/numeric_match", "test/f1", "test/accuracy", "test/loss", "validation/loss"];
const LOWER_IS_BETTER = ["loss", "perplexity", "kl", "n_generated", "n_generated_p95", "n_forward", "cut"];

/** Whether a name is a metric of the tuned prompt itself, not of a baseline and not the bound of an interval. */
export function isOwnMetric(name) {
  return !/^(draw|bare|teacher)\/|_(low|high)$/.test(name);
}

/** Names of the tuned prompt's own metrics. */
export function ownMetrics(metrics) {
  return Object.keys(metrics).filter(isOwnMetric);
}

/** The name of the metric to show if there is room for one; undefined if none of the known ones is there. */
export function mainMetric(metrics) {
  return MAIN.find((name) => name in metrics);
}

/** The best of the values of a metric; undefined values are skipped. */
export function bestValue(name, values) {
  const known = values.filter((value) => value !== undefined);
  return LOWER_IS_BETTER.some((word) => name.endsWith(word)) ? Math.min(...known) : Math.max(...known);
}
