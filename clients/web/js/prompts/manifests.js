/** References of prompts, and the spread measures of their vectors. */

/** "name@3" as name and version. */
export function splitRef(ref) {
  const at = ref.lastIndexOf("@");
  return [ref.slice(0, at), ref.slice(at + 1)];
}

/** By the name of the API: label and explanation. */
export const MEASURES = {
  nearest_distance: ["distance to the nearest token", "mean over vectors"],
  share_within_radius: [
    "share within a token’s radius",
    "share of vectors that are closer to a token than its nearest other token; 1 means that every vector has collapsed onto a token",
  ],
  norm_ratio: ["relative norm", "mean norm of the vectors divided by the mean norm of the token embeddings"],
  effective_rank: ["effective rank", "number of directions that the vectors span"],
  participation_ratio: ["participation ratio", "number of directions that share the variance"],
  mean_pairwise_distance: ["pairwise distance", "mean over pairs of vectors"],
  displacement: ["displacement from the draw", "mean over vectors"],
};
