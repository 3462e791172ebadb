/** Titles of browser tabs. The most specific part comes first, because tabs truncate long titles. */

const N_ID = 6;

/** Sets the title of the tab from its parts; missing parts are omitted. */
export function setTitle(...parts) {
  document.title = [...parts.filter(Boolean), "Prompt Atlas"].join(" · ");
}

/** The last characters of an id: the first ones are alike for runs of one day. */
export function shortId(id) {
  return id.slice(-N_ID);
}
