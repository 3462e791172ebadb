// Before anything is painted: the theme, so that the page does not flash. Not a module: it must not wait.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("promptatlas-theme");
  } catch {
    // Storage is switched off: the system's theme then.
  }
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  document.documentElement.dataset.theme = chosen === "dark" || chosen === "light" ? chosen : system;
})();
