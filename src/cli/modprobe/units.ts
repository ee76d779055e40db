/**
 * The modules and tasks that `flux modprobe` knows, and what decides whether one of them takes part: its ranks, its
 * conditions, what was enabled, disabled or chosen. Pure.
 *
 * Invariant: names are unique; a later definition replaces an earlier one and counts as the later of two alternatives.
 */
import { FluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../../base/json.ts";
import { Idset } from "../../formats/idset.ts";

/** A module to load or a task to run. */
export interface Unit {
  readonly name: string;
  /** What `module.load` is asked for; null for a task. */
  readonly module: string | null;
  readonly args: readonly string[];
  /** "all", an idset (RFC 22), or one number after `<` or `>`. */
  readonly ranks: string;
  /** Services that this unit is an alternative for. */
  readonly provides: readonly string[];
  /** Units that are activated along with this one. */
  readonly requires: readonly string[];
  /** Units without which this one stays out. */
  readonly needs: readonly string[];
  readonly before: readonly string[];
  readonly after: readonly string[];
  /** Broker attributes, configuration keys, environment variables; `!` before a name asks that it be not set. */
  readonly needsAttrs: readonly string[];
  readonly needsConfig: readonly string[];
  readonly needsEnv: readonly string[];
  readonly priority: number;
  readonly disabled: boolean;
  readonly exec: boolean;
}

const DEFAULT_PRIORITY = 100;

/** Reads the table of a module or the arguments of a task; keys may be written with `-` or `_`. Throws EINVAL. */
export function unitOf(table: JsonObject, kind: "module" | "task"): Unit {
  const { name } = table;
  if (typeof name !== "string" || name === "") throw new FluxError("EINVAL", `a ${kind} needs a name`);
  const module = kind === "task" ? null : typeof table["module"] === "string" ? table["module"] : name;
  const empty: Unit = {
    name,
    module,
    args: [],
    ranks: "all",
    provides: [],
    requires: [],
    needs: [],
    before: [],
    after: [],
    needsAttrs: [],
    needsConfig: [],
    needsEnv: [],
    priority: DEFAULT_PRIORITY,
    disabled: false,
    exec: false,
  };
  return withUpdates(empty, table);
}

/** A unit with some of its values replaced. Throws EINVAL for values of the wrong type and keys that do not exist. */
function withUpdates(unit: Unit, updates: JsonObject): Unit {
  const changed: Record<string, JsonValue> = {};
  for (const [key, value] of Object.entries(updates)) {
    const member = key.replace(/[-_]([a-z])/g, (_, letter: string) => letter.toUpperCase());
    if (member === "name" || (member === "module" && unit.module === null)) continue;
    const old: unknown = unit[member as keyof Unit];
    if (old === undefined)
      throw new FluxError("EINVAL", `${unit.name}: unknown ${unit.module === null ? "task argument" : "key"} ${key}`);
    if (value === null || value === undefined) continue;
    const fits = Array.isArray(old)
      ? Array.isArray(value) && value.every((item) => typeof item === "string")
      : typeof value === typeof old;
    if (!fits) throw new FluxError("EINVAL", `${unit.name}: invalid value of ${key}`);
    changed[member] = value;
  }
  const updated = { ...unit, ...changed } as Unit;
  includesRank(updated, 0);
  return updated;
}

/** Whether a unit belongs on a rank. Throws EINVAL where its ranks cannot be read. */
export function includesRank({ name, ranks }: Unit, rank: number): boolean {
  if (ranks === "all") return true;
  const bound = /^([<>])\s*(\d+)$/.exec(ranks);
  if (bound !== null) return bound[1] === "<" ? rank < Number(bound[2]) : rank > Number(bound[2]);
  try {
    return Idset.parse(ranks).has(rank);
  } catch (error) {
    throw new FluxError("EINVAL", `${name}: invalid ranks '${ranks}'`, { cause: error });
  }
}

/** Where conditions look. */
export interface Circumstances {
  readonly rank: number;
  hasAttribute(name: string): boolean;
  hasConfig(key: string): boolean;
  hasVariable(name: string): boolean;
}

export class UnitTable {
  readonly #units = new Map<string, Unit>();
  readonly #chosen = new Map<string, string>();
  readonly #enabled = new Set<string>();

  /** In the order of definition. */
  get units(): Iterable<Unit> {
    return this.#units.values();
  }

  add(unit: Unit): void {
    this.#units.delete(unit.name);
    this.#units.set(unit.name, unit);
  }

  /** Changes a unit that exists. Throws ENOENT. */
  update(name: string, updates: JsonObject): void {
    const unit = this.resolve(name);
    this.#units.set(unit.name, withUpdates(unit, updates));
  }

  /** The unit of a name, or the chosen, else the strongest, alternative of a service. */
  find(name: string): Unit | null {
    const chosen = this.#chosen.get(name);
    if (chosen !== undefined) return this.#units.get(chosen) ?? null;
    const unit = this.#units.get(name);
    if (unit !== undefined) return unit;
    const alternatives = [...this.#units.values()].filter(({ provides }) => provides.includes(name));
    const usable = alternatives.filter(({ disabled }) => !disabled);
    const candidates = usable.length > 0 ? usable : alternatives;
    return candidates.reduce<Unit | null>(
      (best, each) => (best === null || each.priority >= best.priority ? each : best),
      null,
    );
  }

  /** As `find`. Throws ENOENT. */
  resolve(name: string): Unit {
    const unit = this.find(name);
    if (unit === null) throw new FluxError("ENOENT", `no such task or module ${name}`);
    return unit;
  }

  /** Chooses who provides a service. Throws ENOENT where the unit does not provide it. */
  choose(service: string, name: string): void {
    const unit = this.#units.get(name);
    if (unit === undefined || !unit.provides.includes(service))
      throw new FluxError("ENOENT", `no module ${name} provides ${service}`);
    this.#chosen.set(service, name);
  }

  /** Takes a unit out. Throws ENOENT. */
  disable(name: string): void {
    this.update(name, { disabled: true });
  }

  /** Lets a unit take part whatever its conditions say. Throws ENOENT. */
  enable(name: string): void {
    this.update(name, { disabled: false });
    this.#enabled.add(this.resolve(name).name);
  }

  /** Whether nothing but other units keeps a unit from taking part. */
  isWanted(unit: Unit, circumstances: Circumstances): boolean {
    if (this.#enabled.has(unit.name)) return true;
    const { hasAttribute, hasConfig, hasVariable, rank } = circumstances;
    const met = (names: readonly string[], has: (name: string) => boolean): boolean =>
      names.every((name) => (name.startsWith("!") ? !has(name.slice(1)) : has(name)));
    return (
      !unit.disabled &&
      includesRank(unit, rank) &&
      met(unit.needsAttrs, hasAttribute) &&
      met(unit.needsConfig, hasConfig) &&
      met(unit.needsEnv, hasVariable)
    );
  }

  /** Takes over a configuration: `modules` to define, `alternatives` to choose, any other table to update a module. */
  configure(config: JsonObject): void {
    const { modules, alternatives, ...updates } = config;
    if (Array.isArray(modules)) for (const table of modules) if (isJsonObject(table)) this.add(unitOf(table, "module"));
    for (const [name, table] of Object.entries(updates)) {
      if (!isJsonObject(table)) throw new FluxError("EINVAL", `invalid modprobe configuration: ${name}`);
      this.update(name, table);
    }
    if (isJsonObject(alternatives))
      for (const [service, name] of Object.entries(alternatives))
        if (typeof name === "string") this.choose(service, name);
  }
}
