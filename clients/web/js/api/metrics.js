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

/**
 * Whose the main metrics of a run are: of the best of its members. A run with several members also has
 * `{member}/{metric}` of each.
 *
 * @returns {?{member: ?string, n: number}} null with one member; member: null if several members have equal metrics
 */
export function bestMember(metrics) {
  const names = ownMetrics(metrics);
  const own = names.filter((name) => name.split("/").length === 2);
  const found = [...new Set(names.filter((name) => name.split("/").length === 3).map((name) => name.split("/")[0]))];
  if (found.length < 2) return null;
  const isBest = (member) =>
    own.every((name) => !(`${member}/${name}` in metrics) || metrics[`${member}/${name}`] === metrics[name]);
  const best = found.filter(isBest);
  return { member: best.length === 1 ? best[0] : null, n: found.length };
}
