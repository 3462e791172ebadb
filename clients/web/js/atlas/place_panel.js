/** Panel that projects the user's texts or prompts onto the map, without a refit. */
import { button, field, h, select, setOptions } from "../dom/elements.js";
import { count } from "../dom/format.js";
import { attempt } from "../shell/notices.js";

const SHOWN_AS = [
  ["text", "one point, the mean"],
  ["token", "one point per token"],
  ["trajectory", "the generated trajectory"],
];

export class PlacePanel {
  constructor({ api, catalogue, onPlace, onClear }) {
    Object.assign(this, { api, catalogue, onPlace });
    this.text = h("textarea", {
      placeholder: "Your text; several texts on separate lines",
      "aria-label": "Text to place",
    });
    this.shownAs = select(SHOWN_AS, { id: "place-as" });
    this.prompt = select([["", "no prompt"]], { id: "place-prompt" });
    this.vectors = select([["", "choose a prompt"]], { id: "place-vectors" });
    this.placeText = button("Place the text", () => this.#text(), { class: "primary" });
    this.placeVectors = button("Place the vectors", () => this.#vectors());
    this.clear = button("Remove placed points", () => (onClear(), (this.clear.hidden = true)), {
      class: "quiet",
      hidden: true,
    });
    this.element = h(
      "section",
      { class: "panel" },
      h("h3", {}, "Place on the map"),
      this.text,
      h("div", { class: "pair" }, field("Shown as", this.shownAs), field("With prompt", this.prompt)),
      this.placeText,
      field("Vectors of a tuned prompt", this.vectors),
      h("div", { class: "row" }, this.placeVectors, this.clear),
    );
  }

  /** Lists the prompts of the map's model. */
  async open(model) {
    const rows = (await this.catalogue.prompts()).filter((row) => row.base === model);
    const names = rows.map((row) => [`${row.name}@${row.latest}`, `${row.name}@${row.latest}`]);
    setOptions(this.prompt, [["", "no prompt"], ...names]);
    setOptions(this.vectors, [["", names.length ? "choose a prompt" : "no prompts for this model"], ...names]);
  }

  /** Moves the focus to the text. */
  focus() {
    this.text.scrollIntoView({ block: "center" });
    this.text.focus({ preventScroll: true });
  }

  #text() {
    const texts = this.text.value
      .split("\n")
      .map((line) => line.trim())
      .filter(Boolean);
    if (!texts.length) return this.text.focus();
    const prompt = this.prompt.value ? { prompt_ref: this.prompt.value } : {};
    const source =
      this.shownAs.value === "trajectory"
        ? { trajectories: { inputs: texts, max_tokens: 24, ...prompt } }
        : { texts, per: this.shownAs.value, ...prompt };
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
    this.clear.textContent = `Remove placed points (${count(n, "point")} added)`;
  }
}
