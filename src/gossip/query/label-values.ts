/** Label names and what is known of their values. */
export class LabelValues {
  readonly #values = new Map<string, Set<string>>();

  /** Undefined: the name alone. */
  add(name: string, value: string | undefined): void {
    let known = this.#values.get(name);
    if (!known) this.#values.set(name, (known = new Set()));
    if (value !== undefined) known.add(value);
  }

  get all(): ReadonlyMap<string, ReadonlySet<string>> {
    return this.#values;
  }
}
