/** Dialog that stores a file as a prompt version. */
import { acceptDrops } from "../datasets/upload.js";
import { nameFor } from "../datasets/files.js";
import { button, field, h, select, setChildren } from "../dom/elements.js";
import { failure } from "../dom/states.js";
import { notify } from "../shell/notices.js";
import { go } from "../shell/router.js";

export async function openPromptUpload({ api, catalogue }) {
  const models = await catalogue.models().catch(() => []);
  const picker = h("input", { type: "file", id: "prompt-file", accept: ".safetensors,.zip" });
  const name = h("input", { type: "text", required: true, spellcheck: "false" });
  const base = select([["", "as the file says"], ...models.map((one) => one.id)]);
  const fault = h("div", {});
  const store = h("button", { type: "submit", class: "button primary", disabled: true }, "Store the prompt");
  let file = null;
  const choose = (given) => {
    if (!given) return;
    file = given;
    name.value ||= nameFor(given.name);
    chosen.textContent = given.name;
    store.disabled = false;
  };
  picker.addEventListener("change", () => choose(picker.files[0]));
  const chosen = h("span", { class: "faint small" }, "A native safetensors file, or a zip of a PEFT adapter");
  const zone = h(
    "label",
    { class: "drop-zone", for: "prompt-file" },
    h("strong", {}, "Drop a file here, or choose one"),
    chosen,
    picker,
  );
  acceptDrops(zone, choose);
  const dialog = h("dialog", { "aria-labelledby": "prompt-upload-title" });
  const submit = async (event) => {
    event.preventDefault();
    setChildren(fault);
    store.disabled = true;
    const type = file.name.toLowerCase().endsWith(".zip") ? "application/zip" : "application/vnd.safetensors";
    try {
      const query = { name: name.value.trim(), base: base.value };
      const found = await api.upload("/v1/prompts", { file, type, query });
      for (const warning of found.warnings ?? []) notify(warning, { bad: true });
      catalogue.invalidate();
      dialog.close();
      go(["prompts", found.name, String(found.version)]);
    } catch (error) {
      store.disabled = false;
      setChildren(fault, failure(error));
    }
  };
  dialog.append(
    h(
      "form",
      { on: { submit } },
      h("h2", { id: "prompt-upload-title" }, "Upload a prompt"),
      zone,
      h("div", { class: "pair" }, field("Name", name), field("Model", base)),
      fault,
      h(
        "div",
        { class: "row" },
        store,
        button("Cancel", () => dialog.close()),
      ),
    ),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
