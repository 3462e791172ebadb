/** Aliases of a prompt, and deletion of a version. */
import { path } from "../api/client.js";
import { confirmed } from "../dom/confirm.js";
import { button, h } from "../dom/elements.js";
import { fill } from "../dom/states.js";
import { card } from "../dom/table.js";
import { attempt } from "../shell/notices.js";
import { go } from "../shell/router.js";

/** A card that lists the aliases of a prompt, moves them to this version, and deletes them. */
export function aliases({ api, catalogue, signal, manifest }) {
  const container = h("div", {});
  const input = h("input", { type: "text", placeholder: "production", "aria-label": "Alias", spellcheck: "false" });
  const show = () =>
    fill(
      container,
      async () => {
        catalogue.invalidate();
        const row = (await catalogue.prompts()).find((one) => one.name === manifest.name);
        const known = Object.entries(row?.aliases ?? {});
        return known.length
          ? h(
              "ul",
              { class: "small stack tight" },
              known.map(([alias, version]) => line(alias, version)),
            )
          : h("p", { class: "muted small" }, "This prompt has no alias.");
      },
      { signal },
    );
  const line = (alias, version) =>
    h(
      "li",
      { class: "row apart" },
      h("span", {}, `${manifest.name}@${alias} is version ${version}`),
      button(
        "Remove",
        () =>
          attempt(() => api.remove(path`/v1/prompts/${manifest.name}/aliases/${alias}`), `Removed ${alias}.`).then(
            show,
          ),
        { class: "quiet small", "aria-label": `Remove the alias ${alias}` },
      ),
    );
  const set = async (event) => {
    event.preventDefault();
    const alias = input.value.trim();
    if (!alias) return input.focus();
    const done = `${manifest.name}@${alias} is now version ${manifest.version}.`;
    const body = { version: manifest.version };
    await attempt(() => api.put(path`/v1/prompts/${manifest.name}/aliases/${alias}`, body), done);
    input.value = "";
    return show();
  };
  const form = h(
    "form",
    { class: "row tight", on: { submit: set } },
    input,
    h("button", { type: "submit", class: "button" }, "Set to this version"),
  );
  show();
  return card("Aliases", h("div", { class: "stack tight" }, container, form));
}

/** A button that deletes the version after a question. */
export function deleteButton({ api, catalogue, manifest }) {
  const ref = `${manifest.name}@${manifest.version}`;
  const remove = async () => {
    if (!(await confirmed(`Delete ${ref}?`, "Its number is not used again. A version with an alias is not deleted.")))
      return;
    await attempt(async () => {
      await api.remove(path`/v1/prompts/${manifest.name}/versions/${String(manifest.version)}`);
      catalogue.invalidate();
      go(["prompts"]);
    }, `Deleted ${ref}.`);
  };
  return button("Delete", remove, { class: "danger" });
}
