/** Makes what is asked for once, and remembers the last `max` of them. */
export function remembering<Made>(max: number, make: (key: string) => Made): (key: string) => Made {
  const made = new Map<string, Made>();
  return (key) => {
    let known = made.get(key);
    if (known === undefined) {
      if (made.size >= max) made.delete(made.keys().next().value!);
      made.set(key, (known = make(key)));
    }
    return known;
  };
}
