/** What manifests say, in the order in which people ask. */

const MAIN = ["test/exact_match", "test/numeric_match", "test/f1", "test/accuracy", "test/loss", "validation/loss"];

/** The number that says most about a prompt; undefined if none is known. */
export function mainMetric(metrics) {
  return (
    MAIN.find((name) => name in metrics) ??
    Object.keys(metrics).find((name) => !/^(draw|bare)\/|_(low|high)$/.test(name))
  );
}

/** Names of the tuned prompt's own measures. */
export function ownMetrics(metrics) {
  return Object.keys(metrics).filter((name) => !/^(draw|bare)\/|_(low|high)$/.test(name));
}

/** The shape of a prompt in words. */
export function shapeOf(manifest) {
  const layers =
    manifest.kind === "deep" && manifest.layers ? ` at layers ${manifest.layers.join(", ")} (${manifest.where})` : "";
  return `${manifest.kind}, ${manifest.n_virtual} virtual tokens${layers}`;
}

/** "name@3" as name and version. */
export function splitRef(ref) {
  const at = ref.lastIndexOf("@");
  return [ref.slice(0, at), ref.slice(at + 1)];
}

export const MEASURES = {
  nearest_distance: ["distance to the nearest token", "mean over vectors"],
  share_within_radius: ["share within a token’s own radius", "1: every vector has collapsed onto a token"],
  norm_ratio: ["length against tokens’", "mean length over the tokens’ mean length"],
  effective_rank: ["effective rank", "directions that the vectors use"],
  participation_ratio: ["participation ratio", "directions that share the variance"],
  mean_pairwise_distance: ["distance between vectors", "mean over pairs"],
  displacement: ["moved from its draw", "mean over vectors"],
};
