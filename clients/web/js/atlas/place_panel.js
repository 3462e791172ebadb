/** Puts texts or prompts of one's own on the map that is there, now; nothing is fitted again. */
import { button, field, h, select, setOptions } from "../dom/elements.js";
import { count } from "../dom/format.js";
import { attempt } from "../shell/notices.js";

const WAYS = [
  ["text", "its mean, one point"],
  ["token", "each token a point"],
  ["trajectory", "what the model goes on to write"],
];

export class PlacePanel {
  constructor({ api, catalogue, onPlace, onClear }) {
    Object.assign(this, { api, catalogue, onPlace });
    this.text = h("textarea", {
      placeholder: "A text of your own; one a line for several",
      "aria-label": "Text to place",
    });
    this.way = select(WAYS, { id: "place-way" });
    this.prompt = select([["", "no prompt"]], { id: "place-prompt" });
    this.vectors = select([["", "choose a prompt"]], { id: "place-vectors" });
    this.placeText = button("Place the text", () => this.#text(), { class: "primary" });
    this.placeVectors = button("Place its vectors", () => this.#vectors());
    this.clear = button("Remove what I placed", () => (onClear(), (this.clear.hidden = true)), {
      class: "quiet",
      hidden: true,
    });
    this.element = h(
      "section",
      { class: "panel" },
      h("h3", {}, "Place your own"),
      this.text,
      h("div", { class: "pair" }, field("Shown as", this.way), field("Read under", this.prompt)),
      this.placeText,
      field("Or the vectors of a tuned prompt", this.vectors),
      h("div", { class: "row" }, this.placeVectors, this.clear),
    );
  }

  /** Fills in the prompts of the map's model. */
  async open(model) {
    const rows = (await this.catalogue.prompts()).filter((row) => row.base === model);
    const names = rows.map((row) => [`${row.name}@${row.latest}`, `${row.name}@${row.latest}`]);
    setOptions(this.prompt, [["", "no prompt"], ...names]);
    setOptions(this.vectors, [["", names.length ? "choose a prompt" : "there is none yet"], ...names]);
  }

  #text() {
    const texts = this.text.value
      .split("\n")
      .map((line) => line.trim())
      .filter(Boolean);
    if (!texts.length) return this.text.focus();
    const prompt = this.prompt.value ? { prompt_ref: this.prompt.value } : {};
    const source =
      this.way.value === "trajectory"
        ? { trajectories: { inputs: texts, max_tokens: 24, ...prompt } }
        : { texts, per: this.way.value, ...prompt };
    return this.#place({ ...source, name: "placed" }, this.placeText);
  }

  #vectors() {
    if (!this.vectors.value) return this.vectors.focus();
    return this.#place({ prompts: [this.vectors.value], snapshots: true, name: "placed" }, this.placeVectors);
  }

  async #place(source, pressed) {
    pressed.disabled = true;
    const n = await attempt(() => this.onPlace([source]));
    pressed.disabled = false;
    if (n === undefined) return;
    this.clear.hidden = false;
    this.clear.textContent = `Remove what I placed (${count(n, "point")} just now)`;
  }
}
