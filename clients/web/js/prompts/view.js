/** Prompts view: the list, one version, or a comparison of two. */
import { showComparison } from "./compare.js";
import { showPrompts } from "./list.js";
import { showPrompt } from "./prompt.js";

export function view(context) {
  const [, name, version] = context.route.parts;
  if (name === undefined) return showPrompts(context);
  if (context.route.query.get("with"))
    return showComparison(context, `${name}@${version}`, context.route.query.get("with"));
  return showPrompt(context, name, version);
}
