/** Shell commands that send requests to this server, as examples to copy. */

/** A `curl` command that posts `body` to `path`; it reads the key from the environment if the server requires one. */
export function curlCommand(api, path, body) {
  const parts = [`curl -s ${location.origin}${path}`];
  if (api.hasKey) parts.push('-H "Authorization: Bearer $PROMPTATLAS_API_KEY"');
  parts.push("-H 'Content-Type: application/json'", `-d '${JSON.stringify(body).replaceAll("'", `'\\''`)}'`);
  return parts.join(" \\\n  ");
}
