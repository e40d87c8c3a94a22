/** Paths of `json label="a.b[0]["c d"]"`: keys and array indexes. */
export type JsonPath = readonly (string | number)[];

const FIRST = /^(?:([A-Za-z_][A-Za-z0-9_]*)|\["([^"\]]*)"\]|\[(\d+)\])/;
const NEXT = /^(?:\.([A-Za-z_][A-Za-z0-9_]*)|\["([^"\]]*)"\]|\[(\d+)\])/;

/** Throws SyntaxError. */
export function parseJsonPath(expression: string): JsonPath {
  const path: (string | number)[] = [];
  let rest = expression.trim();
  while (rest !== '' || path.length === 0) {
    const part = (path.length === 0 ? FIRST : NEXT).exec(rest);
    if (part === null) {
      throw new SyntaxError(
        `cannot parse expression [${expression}]: unexpected ${JSON.stringify(rest.slice(0, 10))}`,
      );
    }
    path.push(part[3] === undefined ? (part[1] ?? part[2]) : Number(part[3]));
    rest = rest.slice(part[0].length).trimStart();
  }
  return path;
}

/** The field that `logfmt label="field"` names. Throws SyntaxError. */
export function parseLogfmtField(expression: string): string {
  const found = /^\s*(?:([A-Za-z_][A-Za-z0-9_]*)|"([^"]*)")\s*$/.exec(expression);
  if (found === null)
    throw new SyntaxError(`cannot parse expression [${expression}]: a field name is expected`);
  return found[1] ?? found[2];
}
