/** Does something now and again until the view is left; not while the page is hidden. */
export function every(milliseconds, work, signal) {
  let timer = null;
  const next = () => {
    if (!signal.aborted) timer = setTimeout(go, milliseconds);
  };
  const go = async () => {
    if (!document.hidden) await work();
    next();
  };
  signal.addEventListener("abort", () => clearTimeout(timer));
  next();
}
