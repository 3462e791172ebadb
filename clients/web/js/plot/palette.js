/** Colours of points and lines in both themes. The colour of a category depends on its index only. */
import { theme } from "../shell/theme.js";

const CATEGORIES = {
  light: [
    "#2a6f9e",
    "#d77d21",
    "#38885a",
    "#b5404f",
    "#7659ad",
    "#8b6b35",
    "#c05f9b",
    "#0f8f96",
    "#96921f",
    "#4f62c9",
    "#6b7f2a",
    "#a5532a",
  ],
  dark: [
    "#6db3e2",
    "#f0a550",
    "#6fc893",
    "#ee7f86",
    "#b29ce6",
    "#cfae72",
    "#ea9ccb",
    "#4fc7cc",
    "#d3cf5e",
    "#93a4f5",
    "#a9c263",
    "#dd9064",
  ],
};
const OTHER = { light: "#a8a69f", dark: "#666c75" };
const DIM = { light: "#dddad3", dark: "#2e343b" };
// Viridis, perceptually uniform. The ends are cut so that they contrast with the background.
const RAMP = {
  light: ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30"],
  dark: ["#5b3b8c", "#4f5fa6", "#3e7fb0", "#2f9fa9", "#35b79a", "#6ccd6b", "#b0dd45", "#f4e61e"],
};

export const N_CATEGORIES = CATEGORIES.light.length;
export const OTHER_INDEX = N_CATEGORIES;
const N_RAMP = 64;
/** Index of the first colour of the ramp; the colour of dimmed points follows the ramp. */
export const RAMP_START = N_CATEGORIES + 1;
export const DIM_INDEX = RAMP_START + N_RAMP;

/** All colours of the current theme as RGB: categories, other, ramp, dimmed. */
export function palette() {
  const name = theme();
  const ramp = Array.from({ length: N_RAMP }, (_, i) => mixed(RAMP[name], i / (N_RAMP - 1)));
  return [...CATEGORIES[name], OTHER[name], ...ramp, DIM[name]].map(rgb);
}

/** The CSS colour of a palette index: a category, or a colour of the ramp; `other` for any other index. */
export function categoryColour(i) {
  const name = theme();
  if (i >= RAMP_START && i < DIM_INDEX) return `rgb(${mixed(RAMP[name], (i - RAMP_START) / (N_RAMP - 1)).join(",")})`;
  return i < N_CATEGORIES ? CATEGORIES[name][i] : OTHER[name];
}

/** The palette index at `share` (0 to 1) of the ramp. */
export function rampIndex(share) {
  return RAMP_START + Math.round(Math.min(1, Math.max(0, share)) * (N_RAMP - 1));
}

export function rampColours() {
  return RAMP[theme()];
}

/** "#rrggbb" as three bytes; arrays are returned unchanged. */
export function rgb(hex) {
  if (Array.isArray(hex)) return hex;
  const value = Number.parseInt(hex.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

function mixed(stops, share) {
  const at = share * (stops.length - 1);
  const low = Math.floor(at);
  const [a, b] = [rgb(stops[low]), rgb(stops[Math.min(low + 1, stops.length - 1)])];
  return a.map((value, i) => Math.round(value + (b[i] - value) * (at - low)));
}
