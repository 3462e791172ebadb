/** Panel for trajectories: plays one token by token on the map, or steps through it. */
import { button, h, select, setChildren, setOptions } from "../dom/elements.js";
import { truncated, visible } from "../dom/format.js";
import { icon } from "../shell/icons.js";
import { colour } from "../shell/theme.js";

const STEP_MS = 420;

export class TrajectoryPanel {
  /** onChange: called when the overlay must be painted again */
  constructor({ onChange }) {
    this.onChange = onChange;
    this.groups = [];
    this.selected = null;
    this.step = 0;
    this.picker = select([], {
      onchange: (value) => this.#select(value),
      "aria-label": "Trajectory",
      id: "trajectory-picker",
    });
    this.playButton = button(icon("play"), () => (this.timer ? this.stop() : this.play()), {
      class: "icon",
      "aria-label": "Play",
      title: "Play",
    });
    const back = button(icon("back"), () => this.#setStep(this.step - 1), {
      class: "icon",
      "aria-label": "One step back",
      title: "One step back",
    });
    const next = button(icon("next"), () => this.#setStep(this.step + 1), {
      class: "icon",
      "aria-label": "One step forward",
      title: "One step forward",
    });
    this.slider = h("input", {
      type: "range",
      min: 0,
      max: 0,
      "aria-label": "Step",
      on: { input: () => this.#setStep(Number(this.slider.value)) },
    });
    this.tokens = h("div", { class: "trajectory-tokens", "aria-live": "off" });
    this.controls = h(
      "div",
      { class: "stack tight", hidden: true },
      h("div", { class: "row tight" }, back, this.playButton, next, this.slider),
      this.tokens,
    );
    this.element = h(
      "section",
      { class: "panel", hidden: true },
      h("h3", {}, "Trajectories"),
      this.picker,
      this.controls,
    );
  }

  setGroups(points, groups) {
    this.stop();
    this.points = points;
    this.groups = groups;
    this.element.hidden = !groups.length;
    const name = ({ items: [first], group }) =>
      [points.get("prompt", first), truncated(points.get("text", first) ?? group, 60)].filter(Boolean).join(": ");
    setOptions(
      this.picker,
      [["", `choose a trajectory (${groups.length})`], ...groups.map((one, k) => [String(k), name(one)])],
      "",
    );
    this.#select("");
  }

  /** Selects the last trajectory: the one that was just placed. */
  selectLast() {
    const k = String(this.groups.length - 1);
    this.picker.value = k;
    this.#select(k);
  }

  play() {
    if (this.step >= this.slider.max) this.#setStep(0);
    this.timer = setInterval(() => {
      if (this.step >= this.slider.max) this.stop();
      else this.#setStep(this.step + 1);
    }, STEP_MS);
    this.#showPlaying();
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    this.#showPlaying();
  }

  /** Paints the selected trajectory up to the current step. */
  paint(context, toScreen) {
    if (!this.selected) return;
    const pixels = this.selected.items.map(toScreen);
    const [ink, accent, paper] = ["ink", "accent", "plot"].map(colour);
    context.lineJoin = "round";
    stroke(context, pixels, { style: colour("ink-3"), width: 1, dash: [2, 4] });
    stroke(context, pixels.slice(0, this.step + 1), { style: accent, width: 2.2 });
    pixels.forEach((pixel, k) =>
      ring(context, pixel, {
        radius: k === this.step ? 7 : 3.2,
        style: k <= this.step ? accent : paper,
        edge: k <= this.step ? paper : colour("ink-3"),
      }),
    );
    const [x, y] = pixels[this.step];
    label(context, visible(this.points.get("token", this.selected.items[this.step]) ?? ""), x + 12, y - 10, {
      ink,
      paper,
    });
  }

  #select(value) {
    this.stop();
    this.selected = value === "" ? null : this.groups[Number(value)];
    this.controls.hidden = !this.selected;
    if (this.selected) {
      this.slider.max = this.selected.items.length - 1;
      const step = (k) => () => this.#setStep(k);
      setChildren(
        this.tokens,
        this.selected.items.map((i, k) =>
          h(
            "button",
            { type: "button", class: "token", on: { click: step(k) } },
            visible(this.points.get("token", i) ?? "?"),
          ),
        ),
      );
    }
    this.#setStep(0);
  }

  #setStep(step) {
    this.step = Math.min(Math.max(step, 0), Number(this.slider.max));
    this.slider.value = this.step;
    [...this.tokens.children].forEach((token, k) => token.classList.toggle("now", k === this.step));
    this.onChange();
  }

  #showPlaying() {
    setChildren(this.playButton, icon(this.timer ? "pause" : "play"));
    this.playButton.setAttribute("aria-label", this.timer ? "Pause" : "Play");
  }
}

function stroke(context, pixels, { style, width, dash = [] }) {
  context.beginPath();
  pixels.forEach(([x, y], k) => (k ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.setLineDash(dash);
  context.lineWidth = width;
  context.strokeStyle = style;
  context.stroke();
  context.setLineDash([]);
}

function ring(context, [x, y], { radius, style, edge }) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = style;
  context.fill();
  context.lineWidth = 1.4;
  context.strokeStyle = edge;
  context.stroke();
}

function label(context, text, x, y, { ink, paper }) {
  context.font = `600 12.5px ${getComputedStyle(document.documentElement).getPropertyValue("--mono")}`;
  context.lineWidth = 4;
  context.lineJoin = "round";
  context.strokeStyle = paper;
  context.strokeText(text, x, y);
  context.fillStyle = ink;
  context.fillText(text, x, y);
}
