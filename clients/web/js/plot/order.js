/** Order of many numbers: stable sorting by a key, and order statistics, both in linear time. */

const DIGIT_BITS = 16;

/**
 * Indices `0 … n − 1` sorted by a key, stable; a radix sort.
 *
 * @param {Uint16Array[]} digits of the keys, the least significant first
 */
export function sortedIndices(digits, n) {
  let order = new Uint32Array(n).map((_, i) => i);
  let next = new Uint32Array(n);
  const starts = new Uint32Array((1 << DIGIT_BITS) + 1);
  for (const digit of digits) {
    starts.fill(0);
    for (let i = 0; i < n; i++) starts[digit[i] + 1]++;
    for (let k = 0; k < 1 << DIGIT_BITS; k++) starts[k + 1] += starts[k];
    for (let i = 0; i < n; i++) next[starts[digit[order[i]]]++] = order[i];
    [order, next] = [next, order];
  }
  return order;
}

/** The k-th smallest of `values` (Hoare's selection), which are reordered: smaller ones before index k, larger ones after it. */
export function select(values, k) {
  let [left, right] = [0, values.length - 1];
  while (left < right) {
    const pivot = values[(left + right) >> 1];
    let [i, j] = [left, right];
    while (i <= j) {
      while (values[i] < pivot) i++;
      while (values[j] > pivot) j--;
      if (i <= j) {
        const value = values[i];
        values[i++] = values[j];
        values[j--] = value;
      }
    }
    if (k <= j) right = j;
    else if (k >= i) left = i;
    else break;
  }
  return values[k];
}

/** The quantile of `values`, interpolated linearly; they are reordered. */
export function quantile(values, share) {
  const at = share * (values.length - 1);
  const k = Math.floor(at);
  const low = select(values, k);
  if (at === k) return low;
  let high = Infinity;
  for (let i = k + 1; i < values.length; i++) if (values[i] < high) high = values[i];
  return low + (high - low) * (at - k);
}
