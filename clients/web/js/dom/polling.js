/** Calls `work` periodically until `signal` is aborted; pauses while the page is hidden. */
export function repeat(milliseconds, work, signal) {
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
