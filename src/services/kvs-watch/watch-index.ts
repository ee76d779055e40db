/**
 * Finds the watchers that a version concerns by the keys that it wrote, without looking at the others.
 *
 * A watcher is *exact* (only a write to its very key counts), *loose* (also a write above or below it) or takes *every*
 * version (its path goes through a link, so its place in the tree is elsewhere).
 */
export type Attention = "exact" | "loose" | "every";

export interface Watched {
  readonly key: string;
  readonly attention: Attention;
}

export class WatchIndex<T extends Watched> {
  readonly #all = new Set<T>();
  readonly #byKey = new Map<string, Set<T>>();
  /** Loose watchers by each proper prefix of their key. */
  readonly #belowPrefix = new Map<string, Set<T>>();
  readonly #every = new Set<T>();

  get size(): number {
    return this.#all.size;
  }
  [Symbol.iterator](): SetIterator<T> {
    return this.#all.values();
  }

  add(watcher: T): void {
    this.#all.add(watcher);
    into(this.#byKey, watcher.key, watcher);
    if (watcher.attention === "loose")
      for (const prefix of prefixesOf(watcher.key)) into(this.#belowPrefix, prefix, watcher);
    if (watcher.attention === "every") this.#every.add(watcher);
  }

  delete(watcher: T): void {
    if (!this.#all.delete(watcher)) return;
    outOf(this.#byKey, watcher.key, watcher);
    this.#every.delete(watcher);
    if (watcher.attention === "loose")
      for (const prefix of prefixesOf(watcher.key)) outOf(this.#belowPrefix, prefix, watcher);
  }

  /** The watchers that writes to these keys concern. */
  concernedBy(keys: Readonly<Record<string, unknown>>): Set<T> {
    const concerned = new Set(this.#every);
    for (const key in keys) {
      for (const watcher of this.#byKey.get(key) ?? []) concerned.add(watcher);
      for (const watcher of this.#belowPrefix.get(key) ?? []) concerned.add(watcher);
      for (const prefix of prefixesOf(key))
        for (const watcher of this.#byKey.get(prefix) ?? []) if (watcher.attention === "loose") concerned.add(watcher);
    }
    return concerned;
  }
}

/** The proper prefixes of a key, the root among them. */
function* prefixesOf(key: string): Generator<string> {
  if (key === ".") return;
  yield ".";
  for (let dot = key.indexOf("."); dot > 0; dot = key.indexOf(".", dot + 1)) yield key.slice(0, dot);
}

function into<T>(map: Map<string, Set<T>>, key: string, item: T): void {
  const items = map.get(key);
  if (items === undefined) map.set(key, new Set([item]));
  else items.add(item);
}

function outOf<T>(map: Map<string, Set<T>>, key: string, item: T): void {
  const items = map.get(key);
  if (items?.delete(item) === true && items.size === 0) map.delete(key);
}
