/** A set of point indices. Membership is one read, also for a million points. */
export class IndexSet {
  /** @param {number} n number of all points @param {Iterable<number>} items */
  constructor(n, items) {
    this.marks = new Uint8Array(n);
    this.size = 0;
    for (const i of items) {
      this.size += 1 - this.marks[i];
      this.marks[i] = 1;
    }
  }

  has(i) {
    return this.marks[i] === 1;
  }
}
