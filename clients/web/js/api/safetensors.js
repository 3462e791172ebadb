/** Safetensors in the browser: typed arrays over the bytes that came, copied only where they are not aligned. */

const TYPES = {
  F64: Float64Array,
  F32: Float32Array,
  I64: BigInt64Array,
  I32: Int32Array,
  I16: Int16Array,
  I8: Int8Array,
  U32: Uint32Array,
  U16: Uint16Array,
  U8: Uint8Array,
  BOOL: Uint8Array,
};

/**
 * @param {ArrayBuffer} buffer a whole file
 * @returns {{tensors: Object<string, {shape: number[], data: ArrayLike<number>}>, metadata: ?Object}} metadata: the JSON
 *   under `promptatlas`.
 */
export function readTensors(buffer) {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const { __metadata__: extra, ...described } = header;
  const tensors = {};
  for (const [
    name,
    {
      dtype,
      shape,
      data_offsets: [start, end],
    },
  ] of Object.entries(described)) {
    tensors[name] = { shape, data: view(buffer, TYPES[dtype], 8 + length + start, end - start) };
  }
  return { tensors, metadata: extra?.promptatlas ? JSON.parse(extra.promptatlas) : null };
}

/** A column of texts: `codes` say which of `values` each point has, −1 for none. */
export function readTexts(tensors, name) {
  if (!tensors[name]) return null;
  const bytes = tensors[`${name}.bytes`].data;
  const offsets = tensors[`${name}.offsets`].data;
  const decoder = new TextDecoder();
  const values = Array.from({ length: offsets.length - 1 }, (_, i) =>
    decoder.decode(bytes.subarray(Number(offsets[i]), Number(offsets[i + 1]))),
  );
  return { codes: tensors[name].data, values };
}

function view(buffer, Type, offset, nBytes) {
  if (!Type) throw new Error("a tensor of a type that this page does not read");
  if (offset % Type.BYTES_PER_ELEMENT === 0) return new Type(buffer, offset, nBytes / Type.BYTES_PER_ELEMENT);
  return new Type(buffer.slice(offset, offset + nBytes));
}
