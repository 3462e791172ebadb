/**
 * What the page knows about kinds of prompts. A kind without an entry is described by its manifest alone: its name, its
 * number of virtual tokens, its layers and its width.
 *
 * description: where the tensors enter the model. hasPeft: PEFT has a format for this kind. noNearest: why its tensors have
 * no nearest tokens; for all other kinds the server decides.
 */
const KINDS = {
  soft: { description: "virtual tokens: vectors in place of token embeddings, before the text", hasPeft: true },
  deep: { description: "vectors at virtual positions of the chosen layers" },
  prefix: {
    description: "keys and values at virtual positions of every layer",
    hasPeft: true,
    noNearest: "A prefix consists of keys and values. They are not in the space of the token embeddings.",
  },
  steering: { description: "a vector added to the residual stream after each chosen layer" },
};

function entry(kind) {
  return Object.hasOwn(KINDS, kind) ? KINDS[kind] : {};
}

/** Where the tensors of a kind enter the model; null for a kind that the page does not know. */
export function descriptionOf(kind) {
  return entry(kind).description ?? null;
}

/** Whether a prompt of this kind can be downloaded as a PEFT adapter. */
export function hasPeft(kind) {
  return entry(kind).hasPeft ?? false;
}

/** Why a kind has no nearest tokens; null if it may have some. */
export function noNearestReason(kind) {
  return entry(kind).noNearest ?? null;
}

/** Kind and shape of a prompt in one line, for example "deep, 4 virtual tokens, layers 3, 5 (carried), width 128". */
export function shapeOf({ kind, n_virtual: nVirtual, layers, where, d_model: width }) {
  const parts = [kind];
  if (nVirtual) parts.push(`${nVirtual} virtual token${nVirtual === 1 ? "" : "s"}`);
  if (layers?.length)
    parts.push(`${layers.length === 1 ? "layer" : "layers"} ${ranges(layers)}${where ? ` (${where})` : ""}`);
  if (width) parts.push(`width ${width}`);
  return parts.join(", ");
}

/** Layers with runs of three or more abbreviated: [0, 1, 2, 5] is "0–2, 5". */
function ranges(layers) {
  const runs = [];
  for (const layer of [...layers].sort((a, b) => a - b)) {
    const last = runs.at(-1);
    if (last && layer === last[1] + 1) last[1] = layer;
    else runs.push([layer, layer]);
  }
  return runs
    .flatMap(([low, high]) => (high - low < 2 ? (low === high ? [low] : [low, high]) : [`${low}–${high}`]))
    .join(", ");
}
