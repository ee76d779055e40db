/**
 * Which modules and tasks take part in a run of `flux modprobe`, and in which order. Pure.
 *
 * Modules are loaded after those they name in `after` and removed in the opposite order; tasks keep their own order
 * relative to either. Names that take no part put nobody in order.
 */
import { FluxError } from "../../base/errors.ts";
import { unitOf, type Circumstances, type Unit, type UnitTable } from "./units.ts";

export interface Plan {
  /** In an order in which they can be done one after the other. */
  readonly steps: readonly Unit[];
  /** By name of a step, the names of those that must have been done. */
  readonly predecessors: ReadonlyMap<string, ReadonlySet<string>>;
}

const EVERYTHING = "*";

/** What is there to be done: modules by name, tasks, and whether modules come or go. */
export interface Wish {
  readonly direction: "load" | "remove";
  readonly modules: readonly string[];
  readonly tasks: readonly Unit[];
  /** Modules that are there already: not loaded again. */
  readonly loaded: ReadonlySet<string>;
}

/** Makes the plan. Throws ENOENT for a name that is unknown, EINVAL for an order that goes in a circle. */
export function planOf(table: UnitTable, wish: Wish, circumstances: Circumstances): Plan {
  const active = activeUnits(table, wish, circumstances);
  const predecessors = new Map<string, Set<string>>();
  for (const unit of active) predecessors.set(unit.name, new Set());
  for (const unit of active) addOrder(table, active, unit, wish.direction, predecessors);
  return { steps: inOrder(active, predecessors), predecessors };
}

/** A module with all that it requires, itself first. Throws ENOENT. */
function closureOf(table: UnitTable, names: readonly string[]): readonly Unit[] {
  const found = new Set<Unit>();
  const visit = (name: string): void => {
    const unit = table.resolve(name);
    if (found.has(unit)) return;
    found.add(unit);
    unit.requires.forEach(visit);
  };
  names.forEach(visit);
  return [...found];
}

/**
 * What goes along with modules that are removed: those that nothing left requires. Throws EINVAL where one of them is
 * required by a module that stays, ENOENT where one is not loaded.
 */
export function removalOf(table: UnitTable, names: readonly string[], loaded: readonly string[]): string[] {
  const requiredBy = (unit: string, among: ReadonlySet<string>): string[] =>
    [...among].filter((each) =>
      (table.find(each)?.requires ?? []).some((required) => table.find(required)?.name === unit),
    );
  const targets = names.map((name) => table.find(name)?.name ?? name);
  const left = new Set(loaded);
  for (const name of targets) if (!left.delete(name)) throw new FluxError("ENOENT", `module ${name} is not loaded`);
  for (const name of targets) {
    const users = requiredBy(name, left);
    if (users.length > 0) throw new FluxError("EINVAL", `${name} still in use by ${users.join(", ")}`);
  }
  const candidates = new Set(
    closureOf(
      table,
      targets.filter((name) => table.find(name) !== null),
    ).map(({ name }) => name),
  );
  const removed = new Set(targets);
  for (let changed = true; changed;) {
    changed = false;
    for (const name of left)
      if (candidates.has(name) && requiredBy(name, left).length === 0) {
        left.delete(name);
        removed.add(name);
        changed = true;
      }
  }
  return [...removed];
}

function activeUnits(table: UnitTable, wish: Wish, circumstances: Circumstances): Unit[] {
  const tasks = wish.tasks.map(({ name }) => table.resolve(name)).filter((task) => table.isWanted(task, circumstances));
  const active = new Set<Unit>();
  if (wish.direction === "remove")
    for (const name of wish.modules)
      // A loaded module that no table describes can be removed too.
      active.add(table.find(name) ?? unitOf({ name }, "module"));
  else {
    const roots = [...wish.modules, ...tasks.flatMap(({ requires }) => requires)];
    for (const unit of closureOf(table, roots))
      if (unit.module !== null && table.isWanted(unit, circumstances)) active.add(unit);
  }
  tasks.forEach((task) => active.add(task));
  withdrawUnmet(table, active);
  return [...active].filter(
    ({ name, module }) => module === null || wish.direction === "remove" || !wish.loaded.has(name),
  );
}

/** Units that need one that takes no part take no part either, and so on. */
function withdrawUnmet(table: UnitTable, active: Set<Unit>): void {
  for (let changed = true; changed;) {
    changed = false;
    for (const unit of active)
      if (!unit.needs.every((name) => active.has(table.resolve(name)))) {
        active.delete(unit);
        changed = true;
      }
  }
}

function addOrder(
  table: UnitTable,
  active: readonly Unit[],
  unit: Unit,
  direction: Wish["direction"],
  predecessors: ReadonlyMap<string, Set<string>>,
): void {
  const others = (side: "before" | "after", names: readonly string[]): string[] =>
    names.flatMap((name) =>
      name === EVERYTHING
        ? active.filter((each) => !each[side].includes(EVERYTHING)).map((each) => each.name)
        : [table.resolve(name).name],
    );
  const isReversed = direction === "remove" && unit.module !== null;
  const earlier = others(isReversed ? "before" : "after", isReversed ? unit.before : unit.after);
  const later = others(isReversed ? "after" : "before", isReversed ? unit.after : unit.before);
  for (const name of earlier) if (predecessors.has(name)) predecessors.get(unit.name)!.add(name);
  for (const name of later) predecessors.get(name)?.add(unit.name);
}

/** Sorts by predecessors; among equals the order given stands. */
function inOrder(active: readonly Unit[], predecessors: ReadonlyMap<string, ReadonlySet<string>>): Unit[] {
  const done = new Set<string>();
  const steps: Unit[] = [];
  while (steps.length < active.length) {
    const ready = active.filter(
      ({ name }) => !done.has(name) && [...predecessors.get(name)!].every((each) => done.has(each)),
    );
    if (ready.length === 0) {
      const rest = active.filter(({ name }) => !done.has(name)).map(({ name }) => name);
      throw new FluxError("EINVAL", `these wait for each other in a cycle: ${rest.join(", ")}`);
    }
    for (const unit of ready) {
      done.add(unit.name);
      steps.push(unit);
    }
  }
  return steps;
}
