/** Panel for colours: legend with toggles, and lines between points. */
import { checkbox, h, select, setChildren } from "../dom/elements.js";
import { number, visible } from "../dom/format.js";
import { categoryColour, rampColours } from "../plot/palette.js";
import { COLOURINGS } from "./colouring.js";

export class ColourPanel {
  /** isJoined: `{trainingPaths, trajectories}`, changed in place */
  constructor({ signal, by, isJoined, onBy, onChange }) {
    Object.assign(this, { isJoined, onChange });
    this.select = select(COLOURINGS, { value: by, onchange: onBy, id: "colour-by", "aria-label": "Colour by" });
    this.legend = h("div", { class: "atlas-legend", role: "group", "aria-label": "Legend" });
    this.trainingPaths = checkbox("Connect draw → posterior of each prompt vector", {
      checked: isJoined.trainingPaths,
      onchange: (on) => this.#join("trainingPaths", on),
    });
    this.trajectories = checkbox("Connect the tokens of each trajectory", {
      checked: isJoined.trajectories,
      onchange: (on) => this.#join("trajectories", on),
    });
    this.shapes = h("p", { class: "faint small" }, "○ draw   ● posterior   ◆ placed by you");
    const heading = h("div", { class: "row apart tight" }, h("h3", {}, "Colour by"), this.select);
    this.element = h(
      "section",
      { class: "panel" },
      heading,
      this.legend,
      this.trainingPaths,
      this.trajectories,
      this.shapes,
    );
    document.addEventListener("themechange", () => this.colours && this.show(this.colours, this.groups), { signal });
  }

  show(colours, groups) {
    Object.assign(this, { colours, groups });
    this.trainingPaths.firstChild.checked = this.isJoined.trainingPaths;
    this.trajectories.firstChild.checked = this.isJoined.trajectories;
    this.trainingPaths.hidden = !groups.some((one) => one.isTrainingPath);
    this.trajectories.hidden = !groups.some((one) => !one.isTrainingPath);
    this.shapes.hidden = this.trainingPaths.hidden;
    setChildren(this.legend, colours.ramp ? ramp(colours.ramp) : colours.keys.map((key, k) => this.#key(key, k)));
  }

  #key(key, k) {
    const toggle = () => {
      if (!this.hidden.delete(k)) this.hidden.add(k);
      element.setAttribute("aria-pressed", String(!this.hidden.has(k)));
      this.onChange();
    };
    const only = () => {
      const others = this.colours.keys.map((_, other) => other).filter((other) => other !== k);
      const isAlone = others.every((other) => this.hidden.has(other));
      this.hidden.clear();
      if (!isAlone) for (const other of others) this.hidden.add(other);
      this.show(this.colours, this.groups);
      this.onChange();
    };
    const name = this.colours.by === "token" && !key.isRest ? visible(key.name) : key.name;
    const element = h(
      "button",
      {
        type: "button",
        "aria-pressed": String(!this.hidden.has(k)),
        on: { click: toggle, dblclick: only },
        title: "Click: show or hide. Double-click: show only this.",
      },
      h("span", { class: "swatch", vars: { colour: categoryColour(key.colour) } }),
      h("span", { class: ["cut grow", this.colours.by === "token" && !key.isRest && "mono"] }, name),
      h("span", { class: "number faint" }, number(key.n)),
    );
    return element;
  }

  #join(what, on) {
    this.isJoined[what] = on;
    this.onChange();
  }
}

function ramp({ low, high }) {
  const colours = rampColours().join(", ");
  return h(
    "div",
    { class: "ramp" },
    h("div", { class: "ramp-bar", vars: { ramp: `linear-gradient(to right, ${colours})` } }),
    h("div", { class: "row apart small number" }, h("span", {}, number(low)), h("span", {}, number(high))),
  );
}
