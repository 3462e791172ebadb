/** A scrolling container with fades at the edges beyond which there is more. */
import { h } from "./elements.js";

/** Wraps a scrolling element. `left`: width in pixels of what stays in place at the left, which the fade must not cover. */
export function withFades(scroller, { left = 0 } = {}) {
  const frame = h("div", { class: "fades", vars: { left: `${left}px` } }, scroller);
  const update = () => {
    const { scrollLeft, scrollTop, scrollWidth, scrollHeight, clientWidth, clientHeight } = scroller;
    frame.classList.toggle("more-left", scrollLeft > 1);
    frame.classList.toggle("more-right", scrollLeft + clientWidth < scrollWidth - 1);
    frame.classList.toggle("more-above", scrollTop > 1);
    frame.classList.toggle("more-below", scrollTop + clientHeight < scrollHeight - 1);
  };
  scroller.addEventListener("scroll", update, { passive: true });
  // Also called once when the element is shown.
  new ResizeObserver(update).observe(scroller);
  return frame;
}
