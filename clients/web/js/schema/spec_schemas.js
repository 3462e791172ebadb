/** Schemas of run specs in the server's OpenAPI document. */

/** The request of `POST /v1/runs` in an OpenAPI document: kind, description and schema of the spec of every kind of run. */
export class SpecSchemas {
  constructor(document) {
    this.document = document;
    const body = this.resolve(document.paths["/v1/runs"].post.requestBody.content["application/json"].schema);
    this.kinds = body.oneOf.map((one) => {
      const { properties, description } = this.resolve(one);
      return { kind: properties.kind.const, description, schema: properties.spec };
    });
  }

  /** The entry of a kind of run; undefined for an unknown one. */
  of(kind) {
    return this.kinds.find((one) => one.kind === kind);
  }

  /** A schema with its reference followed. Fields next to the reference, such as a default, are kept. */
  resolve(schema) {
    if (!schema.$ref) return schema;
    const { $ref, ...rest } = schema;
    const found = $ref
      .slice(2)
      .split("/")
      .reduce((node, key) => node[key], this.document);
    return { ...this.resolve(found), ...rest };
  }

  /** The schema of the value that is not null, and whether null is allowed. */
  withoutNull(schema) {
    const resolved = this.resolve(schema);
    const others = resolved.anyOf?.filter((one) => this.resolve(one).type !== "null");
    if (!others || others.length === resolved.anyOf.length) return { schema: resolved, isNullable: false };
    const { anyOf, ...rest } = resolved;
    return {
      schema: others.length === 1 ? { ...this.resolve(others[0]), ...rest } : { ...rest, anyOf: others },
      isNullable: true,
    };
  }

  /** Alternatives of a union by the value of its discriminator `{name, options: Map}`; null for other schemas. */
  union(schema) {
    const { oneOf, discriminator } = this.resolve(schema);
    if (!oneOf || !discriminator) return null;
    const name = discriminator.propertyName;
    const options = oneOf.map((one) => this.resolve(one)).map((one) => [tagOf(one.properties[name]), one]);
    return { name, options: new Map(options) };
  }
}

function tagOf(schema) {
  return schema.const ?? schema.enum?.[0] ?? schema.default;
}

/** "batch_size" as "batch size". */
export function labelOf(name) {
  return name.replaceAll("_", " ");
}

/** The first sentence of a description; reStructuredText quotes are removed. */
export function sentenceOf(description) {
  const [first] = (description ?? "").replaceAll("`", "").split(/(?<=[.;])\s|\n\n/);
  return first.replace(/\s+/g, " ").trim();
}

/** What a docstring says of one field: the text after "name: ", up to the next field or the end of the paragraph. */
export function hintOf(description, name) {
  const text = (description ?? "").replaceAll("`", "").replace(/\s+/g, " ");
  const found = new RegExp(
    `(?:^|[.\\s])(?:\\w+, )*${name}(?:, \\w+)*: (.*?)(?=\\.(?: \\w+(?:, \\w+)*: | [A-Z]|$))`,
  ).exec(text);
  return found ? found[1] : null;
}
