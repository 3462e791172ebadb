/** One trajectory, token by token: played, or stepped through. */
import { button, h, put, select, setOptions } from "../dom/elements.js";
import { cut, visible } from "../dom/format.js";
import { icon } from "../shell/icons.js";
import { colour } from "../shell/theme.js";

const STEP_MS = 420;

export class WalkPanel {
  /** onChange: what is painted has changed */
  constructor({ onChange }) {
    this.onChange = onChange;
    this.groups = [];
    this.chosen = null;
    this.step = 0;
    this.picker = select([], {
      onchange: (value) => this.#choose(value),
      "aria-label": "Trajectory",
      id: "walk-picker",
    });
    this.playButton = button(icon("play"), () => (this.timer ? this.stop() : this.play()), {
      class: "icon",
      "aria-label": "Play",
      title: "Play",
    });
    const back = button(icon("back"), () => this.#go(this.step - 1), {
      class: "icon",
      "aria-label": "One step back",
      title: "One step back",
    });
    const next = button(icon("next"), () => this.#go(this.step + 1), {
      class: "icon",
      "aria-label": "One step on",
      title: "One step on",
    });
    this.slider = h("input", {
      type: "range",
      min: 0,
      max: 0,
      "aria-label": "Step",
      on: { input: () => this.#go(Number(this.slider.value)) },
    });
    this.tokens = h("div", { class: "walk-tokens", "aria-live": "off" });
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
      [points.get("prompt", first), cut(points.get("text", first) ?? group, 60)].filter(Boolean).join(": ");
    setOptions(
      this.picker,
      [["", `Choose one of ${groups.length} to follow`], ...groups.map((one, k) => [String(k), name(one)])],
      "",
    );
    this.#choose("");
  }

  /** Chooses the last trajectory, the one that was just placed. */
  followLast() {
    const k = String(this.groups.length - 1);
    this.picker.value = k;
    this.#choose(k);
  }

  play() {
    if (this.step >= this.slider.max) this.#go(0);
    this.timer = setInterval(() => {
      if (this.step >= this.slider.max) this.stop();
      else this.#go(this.step + 1);
    }, STEP_MS);
    this.#showPlaying();
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    this.#showPlaying();
  }

  /** Draws the way so far over the map. */
  paint(context, toScreen) {
    if (!this.chosen) return;
    const places = this.chosen.items.map(toScreen);
    const [ink, accent, paper] = ["ink", "accent", "plot"].map(colour);
    context.lineJoin = "round";
    stroke(context, places, { style: colour("ink-3"), width: 1, dash: [2, 4] });
    stroke(context, places.slice(0, this.step + 1), { style: accent, width: 2.2 });
    places.forEach((place, k) =>
      ring(context, place, {
        radius: k === this.step ? 7 : 3.2,
        style: k <= this.step ? accent : paper,
        edge: k <= this.step ? paper : colour("ink-3"),
      }),
    );
    const [x, y] = places[this.step];
    label(context, visible(this.points.get("token", this.chosen.items[this.step]) ?? ""), x + 12, y - 10, {
      ink,
      paper,
    });
  }

  #choose(value) {
    this.stop();
    this.chosen = value === "" ? null : this.groups[Number(value)];
    this.controls.hidden = !this.chosen;
    if (this.chosen) {
      this.slider.max = this.chosen.items.length - 1;
      const step = (k) => () => this.#go(k);
      put(
        this.tokens,
        this.chosen.items.map((i, k) =>
          h(
            "button",
            { type: "button", class: "token", on: { click: step(k) } },
            visible(this.points.get("token", i) ?? "?"),
          ),
        ),
      );
    }
    this.#go(0);
  }

  #go(step) {
    this.step = Math.min(Math.max(step, 0), Number(this.slider.max));
    this.slider.value = this.step;
    [...this.tokens.children].forEach((token, k) => token.classList.toggle("now", k === this.step));
    this.onChange();
  }

  #showPlaying() {
    put(this.playButton, icon(this.timer ? "pause" : "play"));
    this.playButton.setAttribute("aria-label", this.timer ? "Pause" : "Play");
  }
}

function stroke(context, places, { style, width, dash = [] }) {
  context.beginPath();
  places.forEach(([x, y], k) => (k ? context.lineTo(x, y) : context.moveTo(x, y)));
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
