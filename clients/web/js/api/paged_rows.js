/** Rows of a paginated list, read page by page until enough of them match. */

const FIRST = 100;
const NEXT = 500;

export class PagedRows {
  /** Reads follow one another, so that every page follows the one before it. */
  #last = Promise.resolve();

  /**
   * @param {(query: {limit: number, after: ?string}) => Promise<{data: Object[], has_more: boolean, next: ?string}>} get
   *   reads a page
   * @param {string} key the field that identifies a row
   */
  constructor({ get, key }) {
    Object.assign(this, { get, key, rows: [], after: null, isComplete: false });
  }

  /**
   * Reads pages until `wanted` rows match, the list ends, or all further rows are known not to match.
   *
   * @param {(row: Object) => boolean} matches
   * @param {(row: Object) => boolean} [isPast] whether no row after this one can match
   * @param {() => boolean} [goesOn] called before each page; false ends the reading
   */
  read({ wanted, matches, isPast = () => false, goesOn = () => true }) {
    return this.#inTurn(async () => {
      while (goesOn() && !this.isEnough({ wanted, matches, isPast })) {
        this.#append(await this.get({ limit: this.rows.length ? NEXT : FIRST, after: this.after }));
      }
    });
  }

  /** Whether `read` would read nothing. */
  isEnough({ wanted, matches, isPast = () => false }) {
    if (this.isComplete) return true;
    return this.rows.length > 0 && (isPast(this.rows.at(-1)) || this.rows.filter(matches).length >= wanted);
  }

  /** Reads the first page again: changed, new and deleted rows of it. Rows after it are kept. */
  renew() {
    return this.#inTurn(async () => this.#merge(await this.get({ limit: FIRST, after: null })));
  }

  /** Reads as many rows again as were read. */
  reload() {
    return this.#inTurn(async () => {
      const again = new PagedRows(this);
      await again.read({ wanted: this.rows.length, matches: () => true });
      Object.assign(this, { rows: again.rows, after: again.after, isComplete: again.isComplete });
    });
  }

  #merge(page) {
    const names = new Set(page.data.map((row) => row[this.key]));
    const last = this.rows.findLastIndex((row) => names.has(row[this.key]));
    const rest = this.rows.slice(last + 1);
    // Without a row in common, there may be unread rows between this page and those that were read before.
    if (!page.has_more || last < 0 || !rest.length) {
      this.rows = [];
      this.#append(page);
    } else this.rows = [...page.data, ...rest];
  }

  #inTurn(work) {
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => {});
    return turn;
  }

  #append(page) {
    this.rows = [...this.rows, ...page.data];
    this.after = page.next;
    this.isComplete = !page.has_more;
  }
}
