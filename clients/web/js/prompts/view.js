/** Prompts view: the list, one version, or a comparison of several. */
import { showComparison } from "./compare.js";
import { showPrompts } from "./list.js";
import { showPrompt } from "./prompt.js";

export function view(context) {
  const [, name, version] = context.route.parts;
  if (name === undefined) return showPrompts(context);
  const others = context.route.query.get("with");
  if (others) return showComparison(context, [`${name}@${version}`, ...others.split(",")]);
  return showPrompt(context, name, version);
}
