/** Icons as inline SVG. */
import { svg } from "../dom/elements.js";

const PATHS = {
  sun: "M8 4.8a3.2 3.2 0 1 0 0 6.4 3.2 3.2 0 0 0 0-6.4ZM8 .8v1.7M8 13.5v1.7M.8 8h1.7M13.5 8h1.7M2.9 2.9l1.2 1.2M11.9 11.9l1.2 1.2M13.1 2.9l-1.2 1.2M4.1 11.9l-1.2 1.2",
  moon: "M13.6 9.6A5.8 5.8 0 0 1 6.4 2.4a5.8 5.8 0 1 0 7.2 7.2Z",
  key: "M10.3 1.8a3.9 3.9 0 0 0-3.7 5.1L1.8 11.7v2.5h2.5v-1.6h1.6V11h1.6l1.2-1.2a3.9 3.9 0 1 0 1.6-8ZM11.3 4.7h.01",
  pan: "M8 1.5v13M1.5 8h13M8 1.5 6.3 3.2M8 1.5l1.7 1.7M8 14.5l-1.7-1.7M8 14.5l1.7-1.7M1.5 8l1.7-1.7M1.5 8l1.7 1.7M14.5 8l-1.7-1.7M14.5 8l-1.7 1.7",
  lasso:
    "M4.2 11.3C2.6 10.4 1.5 8.9 1.5 7.2c0-2.9 2.9-5.2 6.5-5.2s6.5 2.3 6.5 5.2-2.9 5.2-6.5 5.2c-.8 0-1.6-.1-2.3-.3M4.2 11.3a1.4 1.4 0 1 0 1.5.8M5 13.4c0 .8-.5 1.3-1.3 1.6",
  fit: "M2 5.5V2h3.5M10.5 2H14v3.5M14 10.5V14h-3.5M5.5 14H2v-3.5",
  crop: "M4 1.5V12h10.5M1.5 4H12v10.5",
  pin: "M8 14.5S3.2 9.8 3.2 6.3a4.8 4.8 0 0 1 9.6 0c0 3.5-4.8 8.2-4.8 8.2ZM8 4.7a1.6 1.6 0 1 0 0 3.2 1.6 1.6 0 0 0 0-3.2Z",
  play: "M4 2.5 13 8l-9 5.5Z",
  pause: "M4.5 2.5v11M11.5 2.5v11",
  back: "M10.5 3 5.5 8l5 5",
  next: "M5.5 3l5 5-5 5",
  search: "M7 2a5 5 0 1 0 0 10A5 5 0 0 0 7 2ZM10.6 10.6 14 14",
  close: "M3.5 3.5l9 9M12.5 3.5l-9 9",
};

/** A decorative icon; the button around it carries the accessible name. */
export function icon(name) {
  const lines = {
    fill: "none",
    stroke: "currentColor",
    "stroke-width": "1.4",
    "stroke-linecap": "round",
    "stroke-linejoin": "round",
  };
  return svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true", ...lines }, svg("path", { d: PATHS[name] }));
}
