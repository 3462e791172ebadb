/** One row as the tokens that the model reads, with the probability that it gives to each. */
import { h, select } from "../dom/elements.js";
import { count, percent, visible } from "../dom/format.js";
import { fill } from "../dom/states.js";

const MAX_CHARACTERS = 4000;

export class TokenView {
  constructor({ api, signal, models }) {
    Object.assign(this, { api, signal });
    this.model = select(
      models.map((one) => one.id),
      { onchange: () => this.item && this.show(this.item), "aria-label": "Model of the tokens" },
    );
    this.container = h("div", {});
    this.element = h(
      "section",
      { class: "card stack" },
      h("header", {}, h("h2", {}, "Tokens of a row"), models.length > 1 && this.model),
      this.container,
    );
    this.hasModel = models.length > 0;
  }

  show(item) {
    this.item = item;
    if (!this.hasModel) return undefined;
    return fill(this.container, () => this.#tokens(item), { signal: this.signal, text: "Reading the tokens …" });
  }

  async #tokens(item) {
    const input = item.text ?? item.input;
    const text = `${input}${item.target ?? ""}`.slice(0, MAX_CHARACTERS);
    const body = { model: this.model.value, prompt: text, max_tokens: 0, echo: true, logprobs: 0 };
    const answer = await this.api.post("/v1/completions", body, { signal: this.signal });
    const { tokens, token_logprobs: logprobs, text_offset: offsets } = answer.choices[0].logprobs;
    const start = item.target ? input.length : Infinity;
    const chip = (token, i) => {
      const isTarget = offsets[i] + token.length > start;
      const title = logprobs[i] === null ? "first token" : `probability ${percent(Math.exp(logprobs[i]))}`;
      return h("span", { class: ["token", isTarget && "target"], title }, visible(token));
    };
    const nTarget = tokens.filter((token, i) => offsets[i] + token.length > start).length;
    const summary = item.target
      ? `${count(tokens.length, "token")}, of which ${nTarget} of the target (marked)`
      : count(tokens.length, "token");
    return h(
      "div",
      { class: "stack tight" },
      h("p", { class: "chips row-tokens" }, tokens.map(chip)),
      h("p", { class: "faint small" }, summary, text.length === MAX_CHARACTERS && "; the row is cut here"),
    );
  }
}
