/**
 * Creates an element. Children are inserted as text, never as markup: names, prompts and answers come from users.
 *
 * @param {string} tag
 * @param {Object} [props] `class`, `on` (listeners by event), `data`, `vars` (CSS custom properties), `text`, and attributes.
 *   An attribute of null, undefined or false is omitted; true writes an empty attribute.
 * @param {...(Node|string|number|null|undefined|false|Array)} children null, undefined and false are omitted
 * @returns {HTMLElement}
 * @throws {Error} for `srcdoc` and `on…` attributes, which would run markup or code from data.
 */
export function h(tag, props = {}, ...children) {
  return applyProps(document.createElement(tag), props, children);
}

/** Creates an SVG element; arguments as for `h`. */
export function svg(tag, props = {}, ...children) {
  return applyProps(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);
}

/** Replaces the children of `parent`; `children` as for `h`. */
export function setChildren(parent, ...children) {
  parent.replaceChildren(...nodes(children));
  return parent;
}

const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "selected", "indeterminate", "open", "readOnly"]);

function applyProps(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (name === "class") element.setAttribute("class", [value].flat().filter(Boolean).join(" "));
    else if (name === "on")
      for (const [type, listener] of Object.entries(value)) element.addEventListener(type, listener);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "vars")
      for (const [key, given] of Object.entries(value)) element.style.setProperty(`--${key}`, given);
    else if (name === "text") element.textContent = value ?? "";
    else if (PROPERTIES.has(name)) element[name] = value;
    else if (name.startsWith("on") || name === "srcdoc")
      throw new Error(`expected an attribute that holds data, got ${name}`);
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

/** A button with a click listener. */
export function button(label, onclick, props = {}) {
  const { class: extra, ...rest } = props;
  return h("button", { type: "button", class: ["button", extra], on: { click: onclick }, ...rest }, label);
}

/** A form field: label, input and optional hint. */
export function field(label, input, hint) {
  return h("label", { class: "field" }, h("span", {}, label), input, hint && h("span", { class: "faint small" }, hint));
}

/** A select element; `options` are values or `[value, label]` pairs. */
export function select(options, { value, onchange, ...props } = {}) {
  const element = h("select", props);
  setOptions(element, options, value);
  if (onchange) element.addEventListener("change", () => onchange(element.value));
  return element;
}

/** Replaces the options of a select; keeps its value if the value is still an option. */
export function setOptions(element, options, value = element.value) {
  const pairs = options.map((option) => (Array.isArray(option) ? option : [option, option]));
  setChildren(
    element,
    pairs.map(([key, label]) => h("option", { value: key }, label)),
  );
  element.value = value;
  if (element.selectedIndex < 0 && pairs.length) element.selectedIndex = 0;
}

/** A labelled checkbox. */
export function checkbox(label, { checked = false, onchange, ...props } = {}) {
  const input = h("input", { type: "checkbox", checked, ...props });
  if (onchange) input.addEventListener("change", () => onchange(input.checked));
  return h("label", { class: "check" }, input, h("span", {}, label));
}
