/** Examples to begin with: an item of a dataset, and the prompt of the model with the best score on it. */
import { path } from "../api/client.js";
import { splitRef } from "../prompts/manifests.js";

const SCORES = ["exact_match", "f1", "accuracy"];
const SPLITS = ["test", "validation", "train"];
const N_ITEMS = 20;

/**
 * @typedef {Object} Example
 * @property {string} text the input
 * @property {?string} target the expected answer; null for running text
 * @property {string} dataset
 * @property {string} split
 * @property {?string} ref the prompt that answers it; null if the model has no prompt with a known dataset
 */

/**
 * Examples for a model.
 *
 * @param {?string} ref a prompt whose dataset is to be used; null chooses the prompt with the best score
 * @returns {Promise<Example[]>} items of one dataset; none if the server has no dataset
 */
export async function examplesOf({ api, catalogue, model, ref, signal }) {
  const known = ref ? await tunedOn(api, ref, signal) : await bestPrompt(api, model, signal);
  const dataset = known?.dataset ?? (await catalogue.datasets())[0]?.name;
  if (!dataset) return [];
  const { splits } = await api.get(path`/v1/datasets/${dataset}`, { limit: 1 }, { signal });
  const split = SPLITS.find((name) => splits[name]);
  const { data } = await api.get(path`/v1/datasets/${dataset}`, { split, limit: N_ITEMS }, { signal });
  return data
    .map((item) => ({ text: item.input ?? item.text, target: item.target ?? null, dataset, split }))
    .filter(({ text }) => text)
    .map((example) => ({ ...example, ref: known?.ref ?? null }));
}

/** The prompt of the model with the best score whose dataset still exists; undefined if there is none. */
async function bestPrompt(api, model, signal) {
  const rows = await api.list("/v1/prompts", { manifests: true });
  const own = rows.filter((row) => row.base === model && row.manifest?.run_id);
  own.sort((a, b) => scoreOf(b.manifest) - scoreOf(a.manifest));
  for (const row of own.slice(0, 3)) {
    const found = await datasetOf(api, row.manifest.run_id, signal);
    if (found) return { ref: `${row.name}@${row.latest}`, dataset: found };
  }
  return undefined;
}

async function tunedOn(api, ref, signal) {
  const [name, version] = splitRef(ref);
  try {
    const { run_id: runId } = await api.get(path`/v1/prompts/${name}/versions/${version}`, {}, { signal });
    return { ref, dataset: runId && (await datasetOf(api, runId, signal)) };
  } catch (error) {
    if (error.name !== "ApiError") throw error;
    return undefined;
  }
}

/** The dataset of a tuning run; null if the run or the dataset was deleted. */
async function datasetOf(api, runId, signal) {
  try {
    const { spec } = await api.get(path`/v1/runs/${runId}`, {}, { signal });
    await api.get(path`/v1/datasets/${spec.dataset}`, { limit: 1 }, { signal });
    return spec.dataset;
  } catch (error) {
    if (error.name !== "ApiError") throw error;
    return null;
  }
}

/** The first known score, on held-out data if possible; −1 without one, so that prompts without scores come last. */
function scoreOf({ metrics }) {
  for (const split of SPLITS) {
    for (const name of SCORES) {
      const value = metrics?.[`${split}/${name}`];
      if (value !== undefined) return value;
    }
  }
  return -1;
}
