/** The spec that a form starts with, and the values that its fields offer. */

/** Priors that a tuning run starts with. */
const PRIORS = [{ kind: "isotropic" }, { kind: "vocabulary" }];

/** Known values by the name of a field, or `[value, label]` pairs. */
export function choicesOf({ models, datasets, prompts }) {
  const refs = prompts.flatMap((row) => row.versions.map((version) => `${row.name}@${version}`));
  const names = datasets.map((one) => one.name);
  const sources = [
    [{ embeddings: "vocabulary" }, "token embeddings of the vocabulary"],
    ...names.map((dataset) => [{ embeddings: { dataset } }, `token embeddings as they occur in ${dataset}`]),
    ...names.map((dataset) => [{ activations: { dataset } }, `activations of ${dataset}`]),
  ];
  return {
    model: models.map((one) => one.id),
    dataset: names,
    datasets: names,
    prompts: refs,
    ref: refs,
    prompt_ref: refs,
    fit: sources.map(([value, label]) => [JSON.stringify(value), label]),
  };
}

/** A first spec: required fields that have known values, and the choices of the link that led here. */
export function initialSpec({ schema, choices, query }) {
  const { properties = {}, required = [] } = schema;
  const wanted = (name) => Object.hasOwn(properties, name) && (required.includes(name) || query.get(name));
  const spec = {};
  if (wanted("model")) spec.model = query.get("model") ?? choices.model[0];
  if (wanted("dataset")) spec.dataset = query.get("dataset") ?? choices.dataset[0];
  if (wanted("datasets")) spec.datasets = [query.get("dataset") ?? choices.dataset[0]];
  if (wanted("prompts")) spec.prompts = query.get("prompts")?.split(",") ?? choices.prompts.slice(0, 2);
  if (required.includes("priors")) spec.priors = PRIORS;
  if (required.includes("sources")) spec.sources = sourcesFor(spec, query);
  return spec;
}

function sourcesFor(spec, query) {
  const dataset = query.get("dataset");
  const prompts = query.get("prompts")?.split(",");
  return [
    { embeddings: "vocabulary" },
    ...(dataset ? [{ dataset }] : []),
    ...(prompts ? [{ prompts, snapshots: true }] : []),
  ];
}
