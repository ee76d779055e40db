/**
 * Checks a history against what the KVS promises.
 *
 * The order of commits is read from the journal. What a client reads tells after how many commits of that order it may
 * have been: exactly (a journal), or between two bounds (a value: from its commit until the next one that writes the
 * key). From that follows:
 *
 * 1. no acknowledged commit is lost, none happens twice;
 * 2. atomic commits: what is read of one root is the state after some number of commits, and never within a version;
 * 3. read-your-writes, monotonic reads: a client never is before what it read, or wrote and was told so;
 * 4. writes follow reads: a commit comes after what its client had seen, and after all that was acknowledged to anybody;
 * 5. causal order by version: after `wait-version` a client is at or after that version; versions and the order of
 *    commits agree;
 * 6. rank 0 reads what was acknowledged to anybody;
 * 7. watches: in order, without repeats; and without gaps, as long as the connection lasts, but for what is committed
 *    between the death of a leader and its ranks' hearing of the next: that they do not hear from anybody;
 * 8. in the end all ranks read the same.
 */
import { JOURNAL, type CommitRecord, type History, type HistoryEvent, type WatchRecord } from "./history-events.ts";

interface Bounds {
  readonly least: number;
  readonly most: number;
}

/** The order of the commits of one namespace. */
class Order {
  readonly names: readonly string[];
  readonly #places = new Map<string, number>();
  readonly #commits = new Map<string, CommitRecord>();
  /** How many events came before an acknowledged commit was begun, by its name. */
  readonly #begins = new Map<string, number>();
  /** Places of the commits that wrote a key, in order. */
  readonly #writers = new Map<string, number[]>();

  constructor(namespace: string, history: History) {
    const [first, ...others] = history.journals.get(namespace) ?? [""];
    for (const other of others)
      if (other !== first) throw new Error(`${namespace}: the ranks end with different journals`);
    this.names = namesIn(first ?? "");
    for (const event of history.events)
      if (event.kind === "acknowledged") this.#begins.set(event.commit.name, event.eventsBefore);
    this.names.forEach((name, place) => {
      if (this.#places.has(name)) throw new Error(`commit ${name} happened twice`);
      this.#places.set(name, place);
    });
    for (const commit of history.commits) if (commit.namespace === namespace) this.#addCommit(commit);
    for (const places of this.#writers.values()) places.sort((left, right) => left - right);
    this.#checkVersions();
  }

  #addCommit(commit: CommitRecord): void {
    const place = this.#places.get(commit.name);
    if (place === undefined) {
      if (commit.rootseq !== null) throw new Error(`acknowledged commit ${commit.name} is lost`);
      return;
    }
    this.#commits.set(commit.name, commit);
    for (const key of commit.writesPair ? [...commit.keys, "pair"] : commit.keys) {
      const places = this.#writers.get(key) ?? [];
      this.#writers.set(key, places);
      places.push(place);
    }
  }

  /** Versions do not fall along the order. */
  #checkVersions(): void {
    let last = 0;
    for (const name of this.names) {
      const rootseq = this.#commits.get(name)?.rootseq ?? null;
      if (rootseq === null) continue;
      if (rootseq < last) throw new Error(`commit ${name} made version ${rootseq} after version ${last}`);
      last = rootseq;
    }
  }

  placeOf(name: string): number {
    const place = this.#places.get(name);
    if (place === undefined) throw new Error(`'${name}' was read, and never happened`);
    return place;
  }

  rootseqAt(place: number): number | null {
    const name = this.names[place];
    return name === undefined ? null : (this.#commits.get(name)?.rootseq ?? null);
  }

  /** How many events came before a commit was begun. */
  beginOf(place: number): number {
    return this.#begins.get(this.names[place]!) ?? 0;
  }

  writersOf(key: string): readonly number[] {
    return this.#writers.get(key) ?? [];
  }

  /** After how many commits a journal is read. */
  afterJournal(text: string): Bounds {
    const names = namesIn(text);
    names.forEach((name, place) => {
      if (this.names[place] !== name)
        throw new Error(`a journal has ${name} at place ${place}, where ${this.names[place]} happened`);
    });
    this.#checkBoundary(names.length);
    return { least: names.length, most: names.length };
  }

  /** Two commits of one version are never seen apart. */
  #checkBoundary(count: number): void {
    const rootseq = count === 0 ? null : this.rootseqAt(count - 1);
    if (rootseq !== null && this.rootseqAt(count) === rootseq)
      throw new Error(`a part of version ${rootseq} was read: ${count} commits`);
  }

  /** After how many commits a key can have had a value. */
  afterValue(key: string, value: string | null): Bounds {
    const place = value === null ? -1 : this.placeOf(value);
    const writers = this.writersOf(key);
    if (value !== null && !writers.includes(place)) throw new Error(`${key} had ${value}, which did not write it`);
    const next = writers.find((writer) => writer > place);
    return { least: place + 1, most: next ?? this.names.length };
  }

  /** After at least how many commits a version is. */
  leastOfVersion(rootseq: number): number {
    return this.names.findLastIndex((_name, place) => (this.rootseqAt(place) ?? Infinity) <= rootseq) + 1;
  }

  /** A version and the number of commits in it agree. */
  checkVersion(rootseq: number, count: number): void {
    this.names.forEach((name, place) => {
      const made = this.rootseqAt(place);
      if (made !== null && made <= rootseq !== place < count)
        throw new Error(
          `version ${rootseq} was read with ${count} commits; commit ${place} (${name}) made version ${made}`,
        );
    });
  }
}

function namesIn(text: string): string[] {
  return text.split(" ").slice(0, -1);
}

/** What one client has seen so far of one namespace. */
class Session {
  /** It is at least after so many commits. */
  least = 0;
  /** The same, of its own acknowledged commits alone: what survives the loss of power. */
  leastOwn = 0;
  version = 0;
  /** What `least` was, by the number of the event that made it so. */
  readonly #past: { readonly number: number; readonly least: number }[] = [];

  /** It read something, or was told that its commit happened. */
  see(bounds: Bounds, number: number): void {
    if (bounds.most < this.least)
      throw new Error(`read the state after ${bounds.most} commits, after it had read ${this.least}`);
    this.least = Math.max(this.least, bounds.least);
    this.#past.push({ number, least: this.least });
  }

  leastBefore(number: number): number {
    return this.#past.findLast((entry) => entry.number < number)?.least ?? 0;
  }

  losePower(): void {
    this.least = this.leastOwn;
    this.version = 0;
    this.#past.length = 0;
  }
}

/** A commit that was acknowledged. */
interface Acknowledged {
  readonly namespace: string;
  readonly place: number;
  /** The number of the event. */
  readonly number: number;
}

/** Throws what is wrong with a history. */
export function checkHistory(history: History): void {
  const orders = new Map<string, Order>();
  for (const namespace of history.journals.keys()) orders.set(namespace, new Order(namespace, history));
  const sessions = new Map<string, Session>();
  const acknowledged: Acknowledged[] = [];
  // What was read and not acknowledged may be lost with the power: until then acknowledgements alone count.
  const lastLoss = history.events.findLastIndex(({ kind }) => kind === "power");
  history.events.forEach((event, number) => {
    const { client, rank, namespace, kind } = event;
    if (kind === "power") return sessions.forEach((session) => session.losePower());
    if (number < lastLoss && kind !== "acknowledged") return;
    const name = `${client} ${namespace}`;
    const session = sessions.get(name) ?? new Session();
    sessions.set(name, session);
    try {
      checkEvent(event, number, orders.get(namespace)!, session, acknowledged);
    } catch (error) {
      throw new Error(`${client} (rank ${rank}, ${namespace}) ${kind}: ${(error as Error).message}`, { cause: error });
    }
  });
  for (const watch of history.watches)
    if (watch.eventsBefore > lastLoss) checkWatch(watch, orders.get(watch.namespace)!, history.leaderDeaths);
}

function checkEvent(
  event: HistoryEvent,
  number: number,
  order: Order,
  session: Session,
  acknowledged: Acknowledged[],
): void {
  const { namespace } = event;
  const before = acknowledged.filter((each) => each.number < event.eventsBefore && each.namespace === namespace);
  const leastOfAll = Math.max(0, ...before.map(({ place }) => place + 1));
  if (event.kind === "acknowledged") {
    const place = order.placeOf(event.commit.name);
    if (place < leastOfAll) throw new Error(`${event.commit.name} comes before what had been acknowledged`);
    if (place < session.leastBefore(event.eventsBefore))
      throw new Error(`${event.commit.name} comes before what its client had read`);
    acknowledged.push({ namespace, place, number });
    session.leastOwn = Math.max(session.leastOwn, place + 1);
    return session.see({ least: place + 1, most: order.names.length }, number);
  }
  if (event.kind === "version") {
    if (event.rootseq < session.version) throw new Error(`version ${event.rootseq} after ${session.version}`);
    session.version = event.rootseq;
  }
  if (event.kind === "version" || event.kind === "reached")
    return session.see({ least: order.leastOfVersion(event.rootseq), most: order.names.length }, number);
  const bounds = boundsOf(event, order);
  if (event.rank === 0 && bounds.most < leastOfAll)
    throw new Error(`rank 0 read what was there after ${bounds.most} commits; ${leastOfAll} had been acknowledged`);
  session.see(bounds, number);
}

/** After how many commits a read can have been. */
function boundsOf(event: HistoryEvent, order: Order): Bounds {
  if (event.kind === "journal") return order.afterJournal(event.text);
  if (event.kind === "value") return order.afterValue(event.key, event.value);
  if (event.kind === "pair") {
    if (event.left !== event.right) throw new Error(`half of a commit was read: ${event.left} and ${event.right}`);
    return order.afterValue("pair", event.left);
  }
  if (event.kind !== "snapshot") throw new Error(`no read: ${event.kind}`);
  const { least } = order.afterJournal(event.journal);
  order.checkVersion(event.rootseq, least);
  for (const [key, value] of event.values) {
    const bounds = order.afterValue(key, value);
    if (least < bounds.least || least > bounds.most)
      throw new Error(`after ${least} commits ${key} was ${value}, as after ${bounds.least} to ${bounds.most}`);
  }
  return { least, most: least };
}

function checkWatch(watch: WatchRecord, order: Order, leaderDeaths: readonly number[]): void {
  const fail = (text: string): never => {
    throw new Error(`${watch.client} watching ${watch.key} of ${watch.namespace} (${watch.kind}): ${text}`);
  };
  if (watch.key === JOURNAL) {
    const text = watch.told.join("");
    const all = order.names.map((name) => `${name} `).join("");
    if (!all.startsWith(text)) fail(`was told ${text}`);
    if (watch.isComplete && text !== all) fail(`was told ${namesIn(text).length} of ${order.names.length} commits`);
    return;
  }
  let last = -1;
  const places = watch.told.map((name) => order.placeOf(name));
  for (const place of places) {
    if (place <= last) fail(`was told of commit ${place} after ${last}`);
    last = place;
  }
  const first = places[0];
  const writers = order.writersOf(watch.key);
  if (watch.isComplete && first === undefined && writers.length > 0) fail("was told nothing");
  if (first === undefined) return;
  const end = watch.isComplete ? Infinity : last;
  for (const writer of writers) {
    if (writer <= first || writer > end || places.includes(writer)) continue;
    // Of several commits in a version only the last is there; of one that was not answered the version is not known.
    const rootseq = order.rootseqAt(writer);
    const successor = writers.find((other) => other > writer);
    const isLast = successor === undefined || ![rootseq, null].includes(order.rootseqAt(successor));
    // What a leader had not announced everywhere when it died is announced by nobody.
    const next = places.findIndex((place) => place > writer);
    const since = order.beginOf(places.at(next === -1 ? -1 : next - 1)!);
    const isLost = leaderDeaths.some((death) => since <= death && death <= (watch.toldAfter[next] ?? Infinity));
    if (rootseq !== null && isLast && !isLost) fail(`was not told of commit ${writer}`);
  }
}
