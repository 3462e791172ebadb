/** Light and dark theme. Code that draws on a canvas listens to `themechange` on the document. */
const NAME = "promptatlas-theme";

export function theme() {
  return document.documentElement.dataset.theme === "dark" ? "dark" : "light";
}

export function setTheme(name) {
  document.documentElement.dataset.theme = name;
  try {
    localStorage.setItem(NAME, name);
  } catch {
    // Storage is disabled: the choice lasts until the page is reloaded.
  }
  document.dispatchEvent(new CustomEvent("themechange"));
}

/** The value of a CSS colour variable of the current theme. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
