/**
 * The attributes of one broker: names, values, and who may change what (flux-broker-attributes(7)). Pure.
 *
 * The broker itself sets what it likes (`set`); the command line and clients go through the rules (`setInitial`,
 * `setByClient`).
 */
import { FluxError } from "../base/errors.ts";
import { formatDuration, tryParseFsd } from "../formats/duration.ts";
import { ATTRIBUTE_FAMILIES, ATTRIBUTE_RULES, type AttributeRule } from "./attribute-table.ts";

/** Bit 0 of the flags in an answer to `attr.get`: the value never changes. */
const FLAG_IMMUTABLE = 1;

function attributeRule(name: string): AttributeRule | null {
  if (Object.hasOwn(ATTRIBUTE_RULES, name)) return ATTRIBUTE_RULES[name]!;
  return ATTRIBUTE_FAMILIES.find(([prefix]) => name.startsWith(prefix))?.[1] ?? null;
}

export class Attributes {
  readonly #values = new Map<string, string>();
  /** What the command line has set. */
  readonly #given = new Set<string>();

  constructor() {
    for (const [name, rule] of Object.entries(ATTRIBUTE_RULES))
      if (rule.initial !== null) this.#values.set(name, canonical(name, rule, rule.initial));
  }

  get(name: string): string | null {
    return this.#values.get(name) ?? null;
  }

  /** The value of an attribute that the broker has set by now: a missing one is a broken invariant. */
  require(name: string): string {
    const value = this.get(name);
    if (value === null) throw new FluxError("ENOENT", `attribute ${name} is not set`);
    return value;
  }

  /** A duration in seconds; Infinity where it is "none". */
  seconds(name: string): number {
    const value = this.get(name);
    return value === null || value === "none" ? Number.POSITIVE_INFINITY : (tryParseFsd(value) ?? 0);
  }

  set(name: string, value: string): void {
    this.#values.set(name, value);
  }

  /** Sets a value from the command line. Throws FluxError with a text that begins with the name. */
  setInitial(name: string, value: string): void {
    const rule = attributeRule(name);
    if (rule === null) throw new FluxError("ENOENT", `${name}: unknown attribute`);
    if (rule.readonly === true) throw new FluxError("EINVAL", `${name}: attribute may not be set on the command line`);
    const normal = canonical(name, rule, value);
    // A duration that somebody wrote is kept as it was written, but for those of the overlay.
    this.set(name, rule.duration === true && !name.startsWith("tbon.") ? value : normal);
    this.#given.add(name);
  }

  /** Whether the command line has set the value: it goes before the configuration. */
  isGiven(name: string): boolean {
    return this.#given.has(name);
  }

  /** Sets a value that the configuration has. Throws FluxError EINVAL with a text that begins with the name. */
  setConfigured(name: string, value: string): void {
    const rule = attributeRule(name);
    if (!this.isGiven(name)) this.set(name, rule === null ? value : canonical(name, rule, value));
  }

  /** Sets a value for a client; `force` is for those that have an effect at the start only. Throws ENOENT, EPERM, or EINVAL. */
  setByClient(name: string, value: string, force: boolean): void {
    const rule = attributeRule(name);
    if (rule === null) throw new FluxError("ENOENT", "unknown attribute");
    // What nobody has set yet may be set once.
    if (rule.runtime !== true && this.#values.has(name)) {
      if (!force) throw new FluxError("EINVAL", "attribute may not be updated");
      if (rule.immutable === true) throw new FluxError("EPERM");
    }
    this.set(name, canonical(name, rule, value));
  }

  /** Removes a value for a client. Throws ENOENT or EPERM. */
  removeByClient(name: string): void {
    if (!this.#values.has(name)) throw new FluxError("ENOENT");
    if (attributeRule(name)?.runtime !== true) throw new FluxError("EPERM");
    this.#values.delete(name);
  }

  /** The answer to `attr.get`. Throws ENOENT. */
  describe(name: string): { value: string; flags: number } {
    const value = this.get(name);
    if (value === null) throw new FluxError("ENOENT");
    const rule = attributeRule(name);
    const mayChange = rule === null || rule.immutable !== true;
    return { value, flags: mayChange ? 0 : FLAG_IMMUTABLE };
  }

  /** Those that are set and never change. */
  immutable(): Record<string, string> {
    return Object.fromEntries([...this.#values].filter(([name]) => attributeRule(name)?.immutable === true));
  }

  /** The names that are set, sorted; `parent-uri` always. */
  names(): string[] {
    return [...new Set([...this.#values.keys(), "parent-uri"])].sort();
  }
}

function canonical(name: string, rule: AttributeRule, value: string): string {
  const refuse = (why: string): never => {
    throw new FluxError("EINVAL", `${name}: Error parsing '${value}': ${why}`);
  };
  if (rule.filled === true && value === "") return refuse("value must not be empty");
  if (rule.choices?.includes(value) === false) return refuse(`value must be ${rule.choices.join(" or ")}`);
  if (rule.range !== undefined) return checkRange(value, rule.range, refuse);
  if (rule.duration !== true || (value === "none" && !name.startsWith("tbon."))) return value;
  const seconds = tryParseFsd(value);
  if (seconds !== null) return formatDuration(seconds);
  throw new FluxError("EINVAL", `Error parsing ${name} attribute: '${value}' is not a duration, like 30s or 5m`);
}

function checkRange(value: string, [min, max]: readonly [number, number], refuse: (why: string) => never): string {
  if (!/^[+-]?\d+$/.test(value)) return refuse("value must be an integer");
  if (Number(value) < min) return refuse(`value must be >= ${min}`);
  return Number(value) > max ? refuse(`value must be at most ${max}`) : value;
}
