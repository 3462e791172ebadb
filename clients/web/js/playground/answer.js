/** The streamed answer of one variant, and the alternatives to each of its tokens. */
import { h, setChildren } from "../dom/elements.js";
import { failure } from "../dom/states.js";
import { count, visible } from "../dom/format.js";
import { bars } from "./bars.js";

const N_TOP = 8;

export class Answer {
  /** variant: `{key, label, ref}`; ref: the `prompt_ref` of the request, null for the model without a prompt */
  constructor(api, variant) {
    Object.assign(this, { api, variant, text: "", tokens: [] });
    this.isNew = true;
    this.tokensContainer = h("p", { class: "answer-text", "aria-live": "polite" }, h("span", { class: "faint" }, "…"));
    this.next = h("div", {});
    this.note = h("span", { class: "faint small" });
    this.element = h(
      "article",
      { class: "card answer" },
      h("header", {}, h("h2", { class: "cut" }, variant.label), this.note),
      this.tokensContainer,
      this.next,
    );
  }

  async run({ model, text, max_tokens, temperature, sampling }, signal) {
    this.isNew = false;
    this.signal = signal;
    Object.assign(this, { text: "", tokens: [] });
    this.reason = null;
    this.note.textContent = "generating …";
    setChildren(this.next);
    const body = {
      model,
      prompt: text,
      max_tokens,
      temperature,
      ...sampling,
      logprobs: N_TOP,
      stream: true,
      ...(this.variant.ref && { prompt_ref: this.variant.ref }),
    };
    try {
      for await (const event of this.api.events("/v1/completions", { body, signal })) {
        if (event.data !== "[DONE]") this.#addChunk(JSON.parse(event.data));
      }
      this.#finish();
    } catch (error) {
      if (error.name === "AbortError") {
        if (this.signal === signal) this.note.textContent = `${count(this.tokens.length, "token")}, stopped`;
        return;
      }
      this.note.textContent = "";
      setChildren(this.tokensContainer);
      setChildren(this.next, failure(error));
    }
  }

  #addChunk(chunk) {
    if (chunk.error)
      throw Object.assign(new Error(chunk.error.message), {
        title: "The response ended early",
        detail: chunk.error.message,
        status: 500,
      });
    const [choice] = chunk.choices;
    this.text += choice.text;
    this.reason = choice.finish_reason ?? this.reason;
    const given = choice.logprobs;
    given?.tokens.forEach((token, i) =>
      this.tokens.push({ token, logprob: given.token_logprobs[i], top: given.top_logprobs[i] }),
    );
    this.#show();
  }

  #show() {
    const chip = (one, k) =>
      h(
        "button",
        {
          type: "button",
          class: "answer-token",
          "aria-pressed": "false",
          title: "Show alternatives to this token",
          vars: { probability: String(Math.exp(one.logprob)) },
          on: { click: () => this.#select(k) },
        },
        visible(one.token),
      );
    setChildren(this.tokensContainer, this.tokens.length ? this.tokens.map(chip) : this.text);
    if (this.tokens.length === 1) this.#select(0);
    else this.#mark();
  }

  #select(k) {
    this.selected = k;
    const { top, token } = this.tokens[k];
    const rows = Object.entries(top)
      .sort((a, b) => b[1] - a[1])
      .slice(0, N_TOP);
    setChildren(
      this.next,
      h("h3", {}, k === 0 ? "Next token" : `Token ${k + 1}`),
      bars(rows.map(([name, logprob]) => ({ name, probability: Math.exp(logprob), isChosen: name === token }))),
    );
    this.#mark();
  }

  #mark() {
    [...this.tokensContainer.children].forEach((chip, k) =>
      chip.setAttribute("aria-pressed", String(k === this.selected)),
    );
  }

  #finish() {
    if (!this.tokens.length && !this.text) setChildren(this.tokensContainer, h("span", { class: "faint" }, "empty"));
    const n = this.tokens.length;
    this.note.textContent = `${count(n, "token")}${this.reason === "length" ? ", stopped at max tokens" : ""}`;
  }
}
