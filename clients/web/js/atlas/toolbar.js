/** Toolbar of the map. */
import { button, h } from "../dom/elements.js";
import { icon } from "../shell/icons.js";

const TOOLS = [
  ["pan", "Move (P)", "p"],
  ["lasso", "Lasso: select points (L)", "l"],
];

export class Toolbar {
  /** onShow(view): shows "all" or "most" points. onPlace: moves the focus to the text to place. */
  constructor(map, { onShow, onPlace }) {
    this.map = map;
    this.buttons = new Map(
      TOOLS.map(([name, title]) => [
        name,
        button(icon(name), () => this.choose(name), { class: "icon", title, "aria-label": title }),
      ]),
    );
    const one = (name, label, key, act) =>
      button(icon(name), act, { class: "icon", title: key ? `${label} (${key})` : label, "aria-label": label });
    const others = [
      one("fit", "Show all", "0", () => onShow("all")),
      one("crop", "Show the 2–98 % range", "1", () => onShow("most")),
      one("pin", "Place a text", "", onPlace),
    ];
    this.element = h(
      "div",
      { class: "atlas-tools" },
      h("div", { class: "segments", role: "group", "aria-label": "Tool" }, [...this.buttons.values()]),
      others,
    );
    map.element.addEventListener("keydown", (event) => {
      const tool = TOOLS.find(([, , key]) => key === event.key.toLowerCase());
      if (tool && !event.ctrlKey && !event.metaKey && !event.altKey) this.choose(tool[0]);
    });
    this.choose("pan");
  }

  choose(name) {
    this.map.tool = name;
    this.map.element.dataset.tool = name;
    for (const [own, element] of this.buttons) element.setAttribute("aria-pressed", String(own === name));
  }
}
