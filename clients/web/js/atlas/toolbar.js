/** Toolbar of the map. */
import { button, h } from "../dom/elements.js";
import { icon } from "../shell/icons.js";

const TOOLS = [
  ["pan", "Move (P)", "p"],
  ["lasso", "Lasso: select points (L)", "l"],
];

export class Toolbar {
  constructor(map) {
    this.map = map;
    this.buttons = new Map(
      TOOLS.map(([name, title]) => [
        name,
        button(icon(name), () => this.choose(name), { class: "icon", title, "aria-label": title }),
      ]),
    );
    const fit = button(icon("fit"), () => map.fit(), {
      class: "icon",
      title: "Show all (0)",
      "aria-label": "Show all",
    });
    this.element = h(
      "div",
      { class: "atlas-tools" },
      h("div", { class: "segments", role: "group", "aria-label": "Tool" }, [...this.buttons.values()]),
      fit,
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
