/** The streamed answers of one variant, and the alternatives to each of their tokens. */
import { h, setChildren } from "../dom/elements.js";
import { failure } from "../dom/states.js";
import { count, visible } from "../dom/format.js";
import { bars } from "./bars.js";

const N_TOP = 8;

export class Answer {
  /**
   * @param variant `{key, label, ref}`; ref: the `prompt_ref` of the request, null for the model without a prompt
   * @param {(body: Object, signal: AbortSignal) => AsyncIterable} [send] sends the body of a completion; by default to the API
   */
  constructor(api, variant, send) {
    Object.assign(this, { api, variant, choices: [] });
    this.send = send ?? ((body, signal) => api.events("/v1/completions", { body, signal }));
    this.isNew = true;
    this.tokensContainer = h("div", { class: "answer-texts" }, h("p", { class: "answer-text faint" }, "…"));
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

  /** The text of the first answer. */
  get text() {
    return this.choices[0]?.text ?? "";
  }

  async run({ model, text, max_tokens, temperature, sampling }, signal) {
    this.isNew = false;
    this.signal = signal;
    this.choices = [];
    this.selected = null;
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
      for await (const event of this.send(body, signal)) {
        if (event.data !== "[DONE]") this.#addChunk(JSON.parse(event.data));
      }
      this.#finish();
    } catch (error) {
      if (error.name === "AbortError") {
        if (this.signal === signal) this.note.textContent = `${count(this.#nTokens, "token")}, stopped`;
        return;
      }
      this.note.textContent = "";
      setChildren(this.tokensContainer);
      setChildren(this.next, failure(error));
    }
  }

  get #nTokens() {
    return this.choices.reduce((n, choice) => n + choice.tokens.length, 0);
  }

  #addChunk(chunk) {
    if (chunk.error)
      throw Object.assign(new Error(chunk.error.message), {
        title: "The response ended early",
        detail: chunk.error.message,
        status: 500,
      });
    for (const given of chunk.choices) this.#add(given);
  }

  #add({ index, text, finish_reason: reason, logprobs }) {
    while (this.choices.length <= index) this.choices.push(this.#newChoice());
    const choice = this.choices[index];
    choice.text += text;
    choice.reason = reason ?? choice.reason;
    logprobs?.tokens.forEach((token, i) =>
      choice.tokens.push({ token, logprob: logprobs.token_logprobs[i], top: logprobs.top_logprobs[i] }),
    );
    this.#show(choice);
  }

  #newChoice() {
    if (!this.choices.length) setChildren(this.tokensContainer);
    const element = h("p", { class: "answer-text", "aria-live": "polite" });
    this.tokensContainer.append(element);
    return { text: "", tokens: [], reason: null, element };
  }

  #show(choice) {
    const chip = (one, k) =>
      h(
        "button",
        {
          type: "button",
          class: "answer-token",
          "aria-pressed": "false",
          title: "Show alternatives to this token",
          vars: { probability: String(Math.exp(one.logprob)) },
          on: { click: () => this.#select(choice, k) },
        },
        visible(one.token),
      );
    setChildren(choice.element, choice.tokens.length ? choice.tokens.map(chip) : choice.text);
    if (choice === this.choices[0] && choice.tokens.length && !this.selected) this.#select(choice, 0);
    else this.#mark();
  }

  #select(choice, k) {
    this.selected = { choice, k };
    const { top, token } = choice.tokens[k];
    const rows = Object.entries(top)
      .sort((a, b) => b[1] - a[1])
      .slice(0, N_TOP);
    const of = this.choices.length > 1 ? ` of answer ${this.choices.indexOf(choice) + 1}` : "";
    setChildren(
      this.next,
      h("h3", {}, k === 0 ? `Next token${of}` : `Token ${k + 1}${of}`),
      bars(rows.map(([name, logprob]) => ({ name, probability: Math.exp(logprob), isChosen: name === token }))),
    );
    this.#mark();
  }

  #mark() {
    for (const choice of this.choices)
      [...choice.element.children].forEach((chip, k) =>
        chip.setAttribute("aria-pressed", String(choice === this.selected?.choice && k === this.selected.k)),
      );
  }

  #finish() {
    for (const { element, tokens, text } of this.choices)
      if (!tokens.length && !text) setChildren(element, h("span", { class: "faint" }, "empty"));
    if (!this.choices.length) setChildren(this.tokensContainer, h("p", { class: "answer-text faint" }, "empty"));
    const n = this.choices.length > 1 ? `${this.choices.length} answers, ` : "";
    const isCut = this.choices.some(({ reason }) => reason === "length");
    this.note.textContent = `${n}${count(this.#nTokens, "token")}${isCut ? ", stopped at max tokens" : ""}`;
  }
}
