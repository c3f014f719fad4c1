/**
 * Value: what clients write: the name of the write, and then dots up to a length.
 *
 * What is read tells so which write it is of, and whether it is still whole.
 *
 * Effects: none.
 *
 * @module
 */

/** Of all values. */
export const valueType = "text/plain";

/** What the write of that name gives a key, at least `bytesMin` bytes long. */
export function valueText(name: string, bytesMin: number): string {
  return `${name}|`.padEnd(bytesMin, ".");
}

/** The name of the write; all of it where that, or its type, is not as it was written. */
export function nameOf(text: string, type: string): string {
  const [, name] = /^(\w+)\|\.*$/.exec(text) ?? [];
  return name !== undefined && type === valueType ? name : `${type} ${text}`;
}
