/** One way's answer, as it is written; and for any of its tokens what else might have come. */
import { h, put } from "../dom/elements.js";
import { failure } from "../dom/states.js";
import { count } from "../dom/format.js";
import { visible } from "../dom/format.js";
import { bars } from "./bars.js";

const N_TOP = 8;

export class Answer {
  /** way: `{key, label, ref}`; ref: what goes into `prompt_ref`, null for the bare model */
  constructor(api, way) {
    Object.assign(this, { api, way, text: "", tokens: [] });
    this.isFresh = true;
    this.tokensPlace = h("p", { class: "answer-text", "aria-live": "polite" }, h("span", { class: "faint" }, "…"));
    this.next = h("div", {});
    this.note = h("span", { class: "faint small" });
    this.element = h(
      "article",
      { class: "card answer" },
      h("header", {}, h("h2", { class: "cut" }, way.label), this.note),
      this.tokensPlace,
      this.next,
    );
  }

  async run({ model, text, max_tokens, temperature }, signal) {
    this.isFresh = false;
    Object.assign(this, { text: "", tokens: [] });
    this.reason = null;
    this.note.textContent = "writes …";
    put(this.next);
    const body = {
      model,
      prompt: text,
      max_tokens,
      temperature,
      logprobs: N_TOP,
      stream: true,
      ...(this.way.ref && { prompt_ref: this.way.ref }),
    };
    try {
      for await (const event of this.api.events("/v1/completions", { body, signal })) {
        if (event.data !== "[DONE]") this.#take(JSON.parse(event.data));
      }
      this.#ended();
    } catch (error) {
      if (error.name === "AbortError") return;
      this.note.textContent = "";
      put(this.tokensPlace);
      put(this.next, failure(error));
    }
  }

  #take(chunk) {
    if (chunk.error)
      throw Object.assign(new Error(chunk.error.message), {
        title: "The answer broke off",
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
          title: "What else might have come here",
          vars: { sure: String(Math.exp(one.logprob)) },
          on: { click: () => this.#choose(k) },
        },
        visible(one.token),
      );
    put(this.tokensPlace, this.tokens.length ? this.tokens.map(chip) : this.text);
    if (this.tokens.length === 1) this.#choose(0);
    else this.#mark();
  }

  #choose(k) {
    this.chosen = k;
    const { top, token } = this.tokens[k];
    const rows = Object.entries(top)
      .sort((a, b) => b[1] - a[1])
      .slice(0, N_TOP);
    put(
      this.next,
      h("h3", {}, k === 0 ? "Next token" : `Token ${k + 1}`),
      bars(rows.map(([name, logprob]) => ({ name, share: Math.exp(logprob), isChosen: name === token }))),
    );
    this.#mark();
  }

  #mark() {
    [...this.tokensPlace.children].forEach((chip, k) => chip.setAttribute("aria-pressed", String(k === this.chosen)));
  }

  #ended() {
    if (!this.tokens.length && !this.text) put(this.tokensPlace, h("span", { class: "faint" }, "nothing"));
    const n = this.tokens.length;
    this.note.textContent = `${count(n, "token")}${this.reason === "length" ? ", cut" : ""}`;
  }
}
