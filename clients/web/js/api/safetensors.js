/** Reader and writer of safetensors. The reader returns typed-array views, copied only where the bytes are not aligned. */

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
 * @param {ArrayBuffer} buffer a complete file
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
    tensors[name] = { shape, data: view(buffer, dtype, 8 + length + start, end - start) };
  }
  return { tensors, metadata: extra?.promptatlas ? JSON.parse(extra.promptatlas) : null };
}

/**
 * A safetensors file of float32 tensors.
 *
 * @param {Object<string, {shape: number[], data: Float32Array}>} tensors
 * @returns {Blob}
 */
export function writeTensors(tensors) {
  let end = 0;
  const described = Object.entries(tensors).map(([name, { shape, data }]) => {
    const start = end;
    end += data.byteLength;
    return [name, { dtype: "F32", shape, data_offsets: [start, end] }];
  });
  const header = new TextEncoder().encode(JSON.stringify(Object.fromEntries(described)));
  const length = new DataView(new ArrayBuffer(8));
  length.setBigUint64(0, BigInt(header.length), true);
  return new Blob([length, header, ...Object.values(tensors).map(({ data }) => data)]);
}

/** A dictionary-encoded column of texts: `codes[i]` is the index of row i in `values`, −1 for none; null without the column. */
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

function view(buffer, dtype, offset, nBytes) {
  const Type = TYPES[dtype];
  if (!Type) throw new Error(`expected a dtype of ${Object.keys(TYPES).join(", ")}, got ${dtype}`);
  if (offset % Type.BYTES_PER_ELEMENT === 0) return new Type(buffer, offset, nBytes / Type.BYTES_PER_ELEMENT);
  return new Type(buffer.slice(offset, offset + nBytes));
}
