import { h, put } from "../dom/elements.js";
export function view({ root }) { put(root, h("div", { class: "view" }, "…")); }
