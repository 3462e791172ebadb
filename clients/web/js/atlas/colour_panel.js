/** Panel for colours: legend with toggles, and lines between points. */
import { checkbox, h, select, setChildren } from "../dom/elements.js";
import { number, visible } from "../dom/format.js";
import { categoryColour, rampColours } from "../plot/palette.js";
import { COLOURINGS } from "./colouring.js";

export class ColourPanel {
  /** shown: `{trainingPaths, trajectories, labels, contours}`, and hidden: set of hidden entries; both are changed in place */
  constructor({ signal, by, shown, hidden, onBy, onChange }) {
    Object.assign(this, { shown, hidden, onChange });
    this.select = select(COLOURINGS, { value: by, onchange: onBy, id: "colour-by", "aria-label": "Colour by" });
    this.legend = h("div", { class: "atlas-legend", role: "group", "aria-label": "Legend" });
    const box = (what, label) =>
      checkbox(label, { checked: shown[what], onchange: (on) => ((shown[what] = on), onChange()) });
    this.trainingPaths = box("trainingPaths", "Connect draw → posterior of each prompt vector");
    this.trajectories = box("trajectories", "Connect the tokens of each trajectory");
    this.labels = box("labels", "Label the groups");
    this.contours = box("contours", "Density contours of the groups (50 % and 90 %)");
    this.note = h("p", { class: "faint small", hidden: true });
    this.shapes = h("p", { class: "faint small" }, "○ draw   ● posterior   ◆ placed by you");
    const heading = h("div", { class: "row apart tight" }, h("h3", {}, "Colour by"), this.select);
    this.element = h(
      "section",
      { class: "panel" },
      heading,
      this.legend,
      this.note,
      this.labels,
      this.contours,
      this.trainingPaths,
      this.trajectories,
      this.shapes,
    );
    document.addEventListener("themechange", () => this.colours && this.show(this.colours, this.groups), { signal });
  }

  /** isFlat: contours can be drawn; isSingle: one layer is shown, so groups have labels */
  show(colours, groups, { isFlat, isSingle } = this.scene) {
    Object.assign(this, { colours, groups, scene: { isFlat, isSingle } });
    this.trajectories.firstChild.checked = this.shown.trajectories;
    this.note.hidden = !colours.note;
    this.note.textContent = colours.note ?? "";
    this.labels.hidden = !isSingle || Boolean(colours.ramp);
    this.contours.hidden = !isFlat || Boolean(colours.ramp);
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
