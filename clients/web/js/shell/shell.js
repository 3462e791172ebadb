/** The frame around every view: brand, navigation, state of the server, theme, key. */
import { button, h, put } from "../dom/elements.js";
import { icon } from "./icons.js";
import { setTheme, theme } from "./theme.js";

const PLACES = [
  ["atlas", "Atlas"],
  ["runs", "Runs"],
  ["prompts", "Prompts"],
  ["playground", "Playground"],
  ["reports", "Reports"],
];
const LOOK_EVERY_MS = 15_000;

export class Shell {
  constructor(root, { onKey }) {
    this.main = h("main", { id: "main", tabindex: "-1" });
    this.links = new Map(PLACES.map(([name, label]) => [name, h("a", { href: `#/${name}` }, label)]));
    this.dot = h("span", { class: "dot" });
    this.words = h("span", {}, "…");
    this.themeButton = button(null, () => this.#turn(), { class: "quiet icon" });
    this.#showTheme();
    const brand = h(
      "a",
      { class: "brand", href: "#/atlas" },
      h("img", { src: "/web/icon.svg", alt: "" }),
      h("span", {}, "Prompt Atlas"),
    );
    const keyButton = button(icon("key"), onKey, { class: "quiet icon", title: "API key", "aria-label": "API key" });
    const server = h("span", { class: "server", role: "status" }, this.dot, this.words);
    document.querySelector(".skip").addEventListener("click", (event) => this.#skip(event));
    put(
      root,
      h(
        "header",
        { class: "bar" },
        brand,
        h("nav", { "aria-label": "Views" }, [...this.links.values()]),
        h("div", { class: "end" }, server, this.themeButton, keyButton),
      ),
      this.main,
    );
  }

  /** The link at the very top: it moves the focus, and leaves the address alone, which says what is shown. */
  #skip(event) {
    event.preventDefault();
    this.main.focus();
  }

  /** Marks a view as the one that is shown. */
  select(name) {
    for (const [own, element] of this.links) {
      if (own === name) element.setAttribute("aria-current", "page");
      else element.removeAttribute("aria-current");
    }
  }

  /** Looks now and then whether the server is ready. The route is open, so no key is asked for. */
  async watch() {
    try {
      const found = await (await fetch("/ready", { credentials: "omit" })).json();
      const ready = found.status === "ready";
      const working = found.workers?.status === "ok";
      this.#say(
        ready ? "good" : "warn",
        ready ? (working ? "ready" : "ready, no worker for runs") : `engine ${found.engine?.status}`,
      );
    } catch {
      this.#say("bad", "no answer");
    }
    setTimeout(() => this.watch(), LOOK_EVERY_MS);
  }

  #say(kind, words) {
    this.dot.className = `dot ${kind}`;
    this.words.textContent = words;
  }

  #turn() {
    setTheme(theme() === "dark" ? "light" : "dark");
    this.#showTheme();
  }

  #showTheme() {
    const other = theme() === "dark" ? "light" : "dark";
    put(this.themeButton, icon(other === "dark" ? "moon" : "sun"));
    this.themeButton.title = `Turn ${other}`;
    this.themeButton.setAttribute("aria-label", `Turn ${other}`);
  }
}
