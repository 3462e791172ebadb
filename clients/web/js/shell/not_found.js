/** View for routes that do not exist. */
import { h, setChildren } from "../dom/elements.js";
import { VIEWS } from "./views.js";
import { setTitle } from "./title.js";

export function showNotFound(root) {
  setTitle("Page not found");
  const links = VIEWS.map(({ name, label }) => h("a", { class: "button", href: `#/${name}` }, label));
  setChildren(
    root,
    h(
      "div",
      { class: "view" },
      h(
        "div",
        { class: "state", role: "alert" },
        h("h1", {}, "Page not found"),
        h("p", {}, "There is no page at ", h("code", {}, location.hash), ". These pages exist:"),
        h("div", { class: "row" }, links),
      ),
    ),
  );
}
