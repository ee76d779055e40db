/**
 * Lists of host names and their compact text (RFC 29): `node[001-128]`, `a,b,c`, `rack[1-2]-eth0`.
 *
 * A list has an order and may repeat a name. It is kept as runs of names that count up by one, so a cluster of a hundred
 * thousand nodes is a few runs.
 *
 * Invariants: runs are in the order of the list; the number of a name is written with its leading zeroes or not at all
 * changed, so `parse(format(list))` has the same names in the same order.
 */
import { FluxError } from "../base/errors.ts";

/** The most names that one range of numbers may stand for. */
const HOST_RANGE_MAX: number = 2 ** 20;

/** Names that differ in a number only, which counts up by one. `width` is 0 where numbers have no leading zeroes. */
interface Run {
  readonly prefix: string;
  readonly suffix: string;
  readonly width: number;
  /** -1 in a name without a number, which then is the prefix. */
  readonly first: number;
  readonly last: number;
}

export class Hostlist implements Iterable<string> {
  #runs: Run[] = [];
  #count = 0;

  /** Reads a hostlist. Throws FluxError EINVAL (ERANGE for a range of too many names) with what is wrong. */
  static parse(text: string): Hostlist {
    const list = new Hostlist();
    list.append(text);
    return list;
  }

  /** Reads a hostlist; null where the text is none. */
  static tryParse(text: string): Hostlist | null {
    try {
      return Hostlist.parse(text);
    } catch (error) {
      if (error instanceof FluxError) return null;
      throw error;
    }
  }

  /** A list of the given names, each taken as it is. */
  static from(hosts: Iterable<string>): Hostlist {
    const list = new Hostlist();
    for (const host of hosts) list.push(host);
    return list;
  }

  get count(): number {
    return this.#count;
  }

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  /** Appends the names of a hostlist text; returns how many they are. Nothing is appended where it throws. */
  append(text: string): number {
    const runs = splitExpressions(text).flatMap((expression) => parseExpression(expression, text));
    const before = this.#count;
    for (const run of runs) this.#appendRun(run);
    return this.#count - before;
  }

  appendList(other: Hostlist): void {
    for (const run of other.#runs.slice()) this.#appendRun(run);
  }

  /** Appends one name, as it is. */
  push(host: string): void {
    this.#appendRun(runOfName(host));
  }

  copy(): Hostlist {
    const list = new Hostlist();
    list.appendList(this);
    return list;
  }

  /** The name at a place from 0; from the end where negative; undefined where there is none. */
  nth(index: number): string | undefined {
    let rest = index < 0 ? this.#count + index : index;
    if (rest < 0) return undefined;
    for (const run of this.#runs) {
      const count = countOf(run);
      if (rest < count) return nameOf(run, run.first + rest);
      rest -= count;
    }
    return undefined;
  }

  /** The first place of a name, or -1. */
  find(host: string): number {
    let offset = 0;
    for (const run of this.#runs) {
      const number = numberIn(run, host);
      if (number !== null) return offset + (number - run.first);
      offset += countOf(run);
    }
    return -1;
  }

  has(host: string): boolean {
    return this.find(host) >= 0;
  }

  *[Symbol.iterator](): Generator<string, void, undefined> {
    for (const run of this.#runs) {
      for (let number = run.first; number <= run.last; number++) yield nameOf(run, number);
    }
  }

  /** The names, in order. */
  toArray(): string[] {
    return [...this];
  }

  /** Takes away every occurrence of the other list's names; the order of the rest stays. */
  subtract(other: Hostlist): Hostlist {
    const names = new Set(other);
    return Hostlist.from(this.#filter((host) => !names.has(host)));
  }

  /** The names that are in both lists, each once, in this list's order. */
  intersect(other: Hostlist): Hostlist {
    const names = new Set(other);
    return Hostlist.from(new Set(this.#filter((host) => names.has(host))));
  }

  /** The names of both lists, each once, sorted. */
  union(other: Hostlist): Hostlist {
    const list = this.copy();
    list.appendList(other);
    return list.uniq();
  }

  /** The names that are in one of the lists only, each once, sorted. */
  xor(other: Hostlist): Hostlist {
    return this.subtract(other).union(other.subtract(this));
  }

  /** The list by prefix, then by the length of the number and the number, then by suffix; repeated names stay. */
  sort(): Hostlist {
    const runs = this.#runs.flatMap((run) => (run.first === run.last ? [run] : expand(run)));
    const list = new Hostlist();
    for (const run of runs.sort(compareRuns)) list.#appendRun(run);
    return list;
  }

  /** The list sorted, each name once. */
  uniq(): Hostlist {
    return Hostlist.from(new Set(this.sort()));
  }

  equals(other: Hostlist): boolean {
    if (this.#count !== other.#count) return false;
    const others = other[Symbol.iterator]();
    for (const host of this) if (host !== others.next().value) return false;
    return true;
  }

  /** The compact text. Neighbours that share prefix and suffix are put in one pair of brackets. */
  format(): string {
    const items: string[] = [];
    for (let index = 0; index < this.#runs.length;) {
      const group = this.#groupAt(index);
      items.push(formatGroup(group));
      index += group.length;
    }
    return items.join(",");
  }

  toString(): string {
    return this.format();
  }

  toJSON(): string {
    return this.format();
  }

  *#filter(wanted: (host: string) => boolean): Generator<string, void, undefined> {
    for (const host of this) if (wanted(host)) yield host;
  }

  #appendRun(run: Run): void {
    this.#count += countOf(run);
    const last = this.#runs.at(-1);
    if (last !== undefined && follows(last, run)) {
      this.#runs[this.#runs.length - 1] = { ...last, last: run.last };
    } else {
      this.#runs.push(run);
    }
  }

  /** The runs from `index` on that one expression can hold: the leading zeroes of its first number go for all. */
  #groupAt(index: number): Run[] {
    const head = this.#runs[index]!;
    const group = [head];
    if (head.first < 0) return group;
    for (let next = index + 1; next < this.#runs.length; next++) {
      const run = this.#runs[next]!;
      if (run.first < 0 || run.prefix !== head.prefix || run.suffix !== head.suffix) break;
      if (digitsOf(run.first, head.width) !== digitsOf(run.first, run.width)) break;
      if (digitsOf(run.last, head.width) !== digitsOf(run.last, run.width)) break;
      group.push(run);
    }
    return group;
  }
}

function countOf(run: Run): number {
  return run.last - run.first + 1;
}

function digitsOf(number: number, width: number): string {
  return String(number).padStart(width, "0");
}

function nameOf(run: Run, number: number): string {
  return number < 0 ? run.prefix : run.prefix + digitsOf(number, run.width) + run.suffix;
}

/** The number that `host` has in this run; null where it is not in it. */
function numberIn(run: Run, host: string): number | null {
  if (run.first < 0) return host === run.prefix ? -1 : null;
  if (!host.startsWith(run.prefix) || !host.endsWith(run.suffix)) return null;
  const digits = host.slice(run.prefix.length, host.length - run.suffix.length);
  if (!/^\d+$/.test(digits)) return null;
  const number = Number(digits);
  return number >= run.first && number <= run.last && digitsOf(number, run.width) === digits ? number : null;
}

/** Whether `run` goes on where `before` ends, so that both are one run. */
function follows(before: Run, run: Run): boolean {
  if (before.first < 0 || run.first !== before.last + 1) return false;
  if (before.prefix !== run.prefix || before.suffix !== run.suffix) return false;
  if (before.width === run.width) return true;
  // `node09` goes on with `node10`, which needs no leading zero.
  return run.width === 0 && String(run.first).length >= before.width;
}

function expand(run: Run): Run[] {
  return Array.from({ length: countOf(run) }, (_, offset) => ({
    ...run,
    first: run.first + offset,
    last: run.first + offset,
  }));
}

function compareRuns(left: Run, right: Run): number {
  return (
    compareText(left.prefix, right.prefix) ||
    nameLength(left) - nameLength(right) ||
    left.first - right.first ||
    compareText(left.suffix, right.suffix)
  );
}

/** How many digits the number of a single name has: `a9` sorts before `a01`, that before `a10`. */
function nameLength(run: Run): number {
  return run.first < 0 ? 0 : digitsOf(run.first, run.width).length;
}

function compareText(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}

/** The number of a single name is its last digits, where it ends in digits. */
function runOfName(host: string): Run {
  const digits = /\d+$/.exec(host)?.[0];
  // Beyond 15 digits a number would not be exact: such a name is text.
  if (digits === undefined || digits.length > 15) return { prefix: host, suffix: "", width: 0, first: -1, last: -1 };
  const prefix = host.slice(0, host.length - digits.length);
  const number = Number(digits);
  return { prefix, suffix: "", width: widthOf(digits), first: number, last: number };
}

function widthOf(digits: string): number {
  return digits.length > 1 && digits.startsWith("0") ? digits.length : 0;
}

function formatGroup(group: readonly Run[]): string {
  const head = group[0]!;
  if (group.length === 1 && head.first === head.last) return nameOf(head, head.first);
  const items = group.map((run) => {
    const first = digitsOf(run.first, head.width);
    return run.first === run.last ? first : `${first}-${digitsOf(run.last, head.width)}`;
  });
  return `${head.prefix}[${items.join(",")}]${head.suffix}`;
}

/** Splits at the commas and blanks outside brackets; empty expressions stand for no name. */
function splitExpressions(text: string): string[] {
  const expressions: string[] = [];
  let depth = 0;
  let start = 0;
  for (let index = 0; index <= text.length; index++) {
    const char = text[index];
    if (char === "[") depth += 1;
    else if (char === "]") depth -= 1;
    if (depth < 0 || depth > 1) throw invalid(text, "brackets do not match");
    if (index === text.length || (depth === 0 && (char === "," || /\s/.test(char!)))) {
      expressions.push(text.slice(start, index));
      start = index + 1;
    }
  }
  if (depth !== 0) throw invalid(text, "brackets do not match");
  return expressions.filter((expression) => expression !== "");
}

function parseExpression(expression: string, text: string): Run[] {
  if (!/^[!-~]+$/.test(expression)) throw invalid(text, "a host name is of printable characters without blanks");
  const match = /^([^[\]]*)\[([^[\]]*)\]([^[\]]*)$/.exec(expression);
  if (match === null) {
    if (expression.includes("[")) throw invalid(text, `'${expression}' has more than one pair of brackets`);
    return [runOfName(expression)];
  }
  const [, prefix = "", idlist = "", suffix = ""] = match;
  const items = idlist.split(",");
  // The leading zeroes of the first number go for all of them.
  const width = widthOf(/^\d*/.exec(idlist)![0]);
  return items.map((item) => {
    const range = /^(\d{1,15})(?:-(\d{1,15}))?$/.exec(item);
    if (range === null) throw invalid(text, `'${item}' is not a number or a range`);
    const first = Number(range[1]);
    const last = range[2] === undefined ? first : Number(range[2]);
    if (last < first) throw invalid(text, `range '${item}' is out of order`);
    if (last - first >= HOST_RANGE_MAX)
      throw new FluxError("ERANGE", `hostlist '${text}': range '${item}' is too large`);
    return { prefix, suffix, width, first, last };
  });
}

function invalid(text: string, reason: string): FluxError {
  return new FluxError("EINVAL", `Invalid hostlist: '${text}': ${reason}`);
}
