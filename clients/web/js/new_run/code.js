/** A run as code to copy: curl, the Python SDK, and YAML for the command line. */
import { curlCommand } from "../api/curl.js";

/** @returns {[string, string][]} labels and texts; none contains the key */
export function codeOf(api, body) {
  return [
    ["curl", curlCommand(api, "/v1/runs", body)],
    ["Python", pythonCode(api, body)],
    ["YAML", yaml(body.spec)],
  ];
}

function pythonCode(api, { kind, spec, name }) {
  const key = api.hasKey ? ', api_key=os.environ["PROMPTATLAS_API_KEY"]' : "";
  return [
    ...(key ? ["import os", ""] : []),
    "from promptatlas import Client",
    "",
    `spec = ${python(spec)}`,
    `with Client(${JSON.stringify(location.origin)}${key}) as client:`,
    `    run = client.runs.create(${JSON.stringify(kind)}, spec${name ? `, name=${JSON.stringify(name)}` : ""})`,
    "    print(run.id)",
    "",
  ].join("\n");
}

/** A completion with the SDK. */
export function pythonCompletion({ model, prompt, ...fields }, { hasKey }) {
  const { max_tokens, temperature, prompt_ref, ...rest } = fields;
  const given = { model, max_tokens, temperature, ...(prompt_ref && { prompt_ref }), ...rest };
  const options = Object.entries(given).map(([name, value]) => `        ${name}=${python(value)},\n`);
  const key = hasKey ? ', api_key=os.environ["PROMPTATLAS_API_KEY"]' : "";
  return [
    ...(hasKey ? ["import os", ""] : []),
    "from promptatlas import Client",
    "",
    `with Client(${JSON.stringify(location.origin)}${key}) as client:`,
    `    answer = client.completions.create(\n        prompt=${JSON.stringify(prompt)},\n${options.join("")}    )`,
    ...(fields.n > 1
      ? ["    for choice in answer.choices:", "        print(choice.text)"]
      : ["    print(answer.choices[0].text)"]),
    "",
  ].join("\n");
}

/** JSON as a Python literal. */
function python(value, indent = "") {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = `${indent}    `;
  const lines = Array.isArray(value)
    ? value.map((one) => `${inner}${python(one, inner)},\n`)
    : Object.entries(value).map(([key, one]) => `${inner}${JSON.stringify(key)}: ${python(one, inner)},\n`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  return lines.length ? `${open}\n${lines.join("")}${indent}${close}` : `${open}${close}`;
}

/** JSON as YAML in block style. All texts are quoted, so that none is read as a number or as a boolean. */
function yaml(value, indent = "") {
  // YAML 1.1 reads 1e-8 as a text: numbers need a point before the exponent.
  if (typeof value === "number") return String(value).replace(/^(-?\d+)e/, "$1.0e");
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const entries = Object.entries(value);
  if (!entries.length) return Array.isArray(value) ? "[]" : "{}";
  const line = ([key, one]) => {
    const isNested = typeof one === "object" && one !== null && Object.keys(one).length > 0;
    const mark = Array.isArray(value) ? "-" : `${key}:`;
    return `${indent}${mark}${isNested ? `\n${yaml(one, `${indent}  `)}` : ` ${yaml(one)}`}`;
  };
  return entries.map(line).join("\n");
}
