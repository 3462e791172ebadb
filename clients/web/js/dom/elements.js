/**
 * Makes elements. Texts go in as text and never as markup: names, prompts and answers are anybody's words.
 *
 * @param {string} tag
 * @param {Object} [props] `class`, `on` (listeners by event), `data`, `vars` (CSS custom properties), `text`, and attributes;
 *   those of null, undefined or false are left out, true writes an empty one.
 * @param {...(Node|string|number|null|undefined|false|Array)} children
 */
export function h(tag, props = {}, ...children) {
  return furnish(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function svg(tag, props = {}, ...children) {
  return furnish(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);
}

/** Replaces everything in `parent`. */
export function put(parent, ...children) {
  parent.replaceChildren(...nodes(children));
  return parent;
}

const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "selected", "indeterminate", "open", "readOnly"]);

function furnish(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (name === "class") element.setAttribute("class", [value].flat().filter(Boolean).join(" "));
    else if (name === "on")
      for (const [type, listener] of Object.entries(value)) element.addEventListener(type, listener);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "vars")
      for (const [key, given] of Object.entries(value)) element.style.setProperty(`--${key}`, given);
    else if (name === "text") element.textContent = value ?? "";
    else if (PROPERTIES.has(name)) element[name] = value;
    else if (name.startsWith("on") || name === "srcdoc") throw new Error(`${name} is no attribute for data`);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...nodes(children));
  return element;
}

function nodes(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child))));
}

/** A button that does something. */
export function button(label, onclick, props = {}) {
  const { class: extra, ...rest } = props;
  return h("button", { type: "button", class: ["button", extra], on: { click: onclick }, ...rest }, label);
}

/** A labelled form field around an input. */
export function field(label, input, hint) {
  return h("label", { class: "field" }, h("span", {}, label), input, hint && h("span", { class: "faint small" }, hint));
}

/** A list to choose from; `options` are values, or `[value, label]`. */
export function select(options, { value, onchange, ...props } = {}) {
  const element = h("select", props);
  setOptions(element, options, value);
  if (onchange) element.addEventListener("change", () => onchange(element.value));
  return element;
}

/** Gives a select new options, keeping its value where it is still there. */
export function setOptions(element, options, value = element.value) {
  const pairs = options.map((option) => (Array.isArray(option) ? option : [option, option]));
  put(
    element,
    pairs.map(([key, label]) => h("option", { value: key }, label)),
  );
  element.value = value;
  if (element.selectedIndex < 0 && pairs.length) element.selectedIndex = 0;
}

/** A checkbox with its label. */
export function checkbox(label, { checked = false, onchange, ...props } = {}) {
  const input = h("input", { type: "checkbox", checked, ...props });
  if (onchange) input.addEventListener("change", () => onchange(input.checked));
  return h("label", { class: "check" }, input, h("span", {}, label));
}
