/** Light or dark. Whoever draws on a canvas listens to `themechange` on the document. */
const NAME = "promptatlas-theme";

export function theme() {
  return document.documentElement.dataset.theme === "dark" ? "dark" : "light";
}

export function setTheme(name) {
  document.documentElement.dataset.theme = name;
  try {
    localStorage.setItem(NAME, name);
  } catch {
    // Storage is switched off: it holds until the page is loaded again.
  }
  document.dispatchEvent(new CustomEvent("themechange"));
}

/** The value of a colour of the theme. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
