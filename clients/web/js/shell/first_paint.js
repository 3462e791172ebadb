// Sets the theme before the first paint, so that the page does not flash. Not a module, because modules are deferred.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("promptatlas-theme");
  } catch {
    // Storage is disabled: use the system's theme.
  }
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  document.documentElement.dataset.theme = chosen === "dark" || chosen === "light" ? chosen : system;
})();
