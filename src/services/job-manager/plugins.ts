/**
 * What the reference has as jobtap plugins (flux-jobtap(1)), under the same names: parts that are built in, and parts that
 * become active when they are loaded.
 *
 * | loadable        | what it does                                                                     |
 * |-----------------|----------------------------------------------------------------------------------|
 * | perilog.so      | prologs and epilogs (`perilog.ts`)                                               |
 * | alloc-bypass.so | jobs of the owner with `attributes.system.alloc-bypass.R` get that, unscheduled  |
 * | alloc-check.so  | a job whose resources another job has already gets an exception                  |
 * | submit-hold.so  | jobs are held when they are submitted                                            |
 */
import { errorText, FluxError } from "../../base/errors.ts";
import { isJsonObject, memberAt, stringifyJson, type JsonObject } from "../../base/json.ts";
import { fluidKvsPath } from "../../formats/fluid.ts";
import { globExpression } from "../../formats/glob.ts";
import { configType } from "../../formats/policy-config.ts";
import { ResourceSet } from "../../formats/resource-set.ts";
import { URGENCY_HOLD } from "../../sdk/job-protocol.ts";
import { makeTextVal } from "../../formats/treeobj.ts";
import { type Operation } from "../../sdk/kvs-protocol.ts";
import { ALLOC_BYPASS } from "./fold.ts";
import type { Job } from "./job.ts";
import { NO_PERILOG, perilogConfigsOf, type Perilog } from "./perilog.ts";

const BUILTIN: readonly string[] = [
  ".priority-default",
  ".limit-job-size",
  ".limit-duration",
  ".dependency-after",
  ".dependency-singleton",
  ".begin-time",
  ".validate-duration",
  ".update-duration",
  ".history",
  ".post-event",
  ".update-queue",
];
const LOADABLE: readonly string[] = ["perilog.so", "alloc-bypass.so", "alloc-check.so", "submit-hold.so"];
const PERILOG = "perilog.so";
const BYPASS_KEY = ["attributes", "system", "alloc-bypass", "R"];

export interface PluginSurroundings {
  readonly ownerUserid: number;
  readonly perilog: Perilog;
  /** Jobs with resources. */
  running(): Iterable<Job>;
  post(job: Job, name: string, context?: JsonObject): void;
  raise(job: Job, context: JsonObject): void;
  addOperation(operation: Operation): void;
}

export class Plugins {
  readonly #surroundings: PluginSurroundings;
  /** By name, in the order of loading, with their own configuration. */
  readonly #loaded = new Map<string, JsonObject>(BUILTIN.map((name) => [name, {}]));
  #config: JsonObject = {};

  constructor(surroundings: PluginSurroundings) {
    this.#surroundings = surroundings;
  }

  get names(): string[] {
    return [...this.#loaded.keys()];
  }

  has(name: string): boolean {
    return this.#loaded.has(name);
  }

  /** Throws ENOSYS where the plugin that serves a method is not loaded. */
  checkServed(name: string, method: string): void {
    if (!this.has(name)) throw new FluxError("ENOSYS", `Unknown service method 'job-manager.${method}'`);
  }

  /** A flag of a plugin's own configuration; those that come from the command line are texts or numbers. */
  flag(name: string, key: string, fallback: boolean): boolean {
    const value = this.#loaded.get(name)?.[key];
    return value === undefined ? fallback : value !== false && value !== 0 && value !== "0" && value !== "false";
  }

  /** Takes a configuration. Throws EINVAL. */
  configure(config: JsonObject): void {
    const configs = this.has(PERILOG) ? perilogConfigsOf(config) : NO_PERILOG;
    this.#config = config;
    this.#surroundings.perilog.configure(configs);
  }

  /** Loads what `job-manager.plugins` names, at the start. Throws EINVAL, ENOENT. */
  loadConfigured(config: JsonObject): void {
    const directives = memberAt(config, ["job-manager", "plugins"]);
    if (directives === undefined) return;
    if (!Array.isArray(directives)) throw new FluxError("EINVAL", "[job-manager.plugins] must be an array");
    for (const directive of directives as unknown[]) {
      const { load, remove, conf } = isJsonObject(directive as never) ? (directive as JsonObject) : ({} as JsonObject);
      if (typeof remove === "string") this.remove(remove);
      if (typeof load === "string") this.load(load, isJsonObject(conf) ? conf : {});
    }
  }

  /** What is built in may be loaded again, with another configuration. Throws ENOENT, EEXIST. */
  load(path: string, conf: JsonObject): void {
    const name = path.slice(path.lastIndexOf("/") + 1);
    if (!BUILTIN.includes(name) && !LOADABLE.includes(name)) throw new FluxError("ENOENT", `${path} not found`);
    if (this.#loaded.has(name) && !BUILTIN.includes(name)) throw new FluxError("EEXIST", `${path} already loaded`);
    this.#loaded.set(name, conf);
    if (name === PERILOG) this.configure(this.#config);
  }

  /** Removes by name or pattern; `all` is what is not built in. Throws ENOENT. */
  remove(pattern: string): void {
    const matches = globExpression(pattern === "all" ? "*" : pattern);
    // What is built in is meant only by patterns that begin like it.
    const isMeant = (name: string): boolean => name.startsWith(".") === pattern.startsWith(".") && matches.test(name);
    const names = this.names.filter(isMeant);
    if (names.length === 0 && pattern !== "all") throw new FluxError("ENOENT", `${pattern} not found`);
    for (const name of names) this.#loaded.delete(name);
    if (names.includes(PERILOG)) this.#surroundings.perilog.configure(NO_PERILOG);
  }

  /** What is known of a plugin. Throws ENOENT. */
  query(name: string): JsonObject {
    if (!this.#loaded.has(name)) throw new FluxError("ENOENT", `${name}: plugin not found`);
    const answer = { name, path: name.startsWith(".") ? "builtin" : `builtin:${name}` };
    return name === PERILOG ? { ...answer, ...this.#surroundings.perilog.report() } : answer;
  }

  /** Refuses what a plugin does not take at submission. Throws EINVAL. */
  admit(job: Job): void {
    const R = memberAt(job.jobspec, BYPASS_KEY);
    if (R === undefined || !this.has("alloc-bypass.so")) return;
    if (job.userid !== this.#surroundings.ownerUserid)
      throw new FluxError("EINVAL", "Guest user cannot use alloc bypass");
    try {
      if (!isJsonObject(R)) throw new FluxError("EINVAL", `Expected object, got ${configType(R)}`);
      ResourceSet.parse(R);
    } catch (error) {
      throw new FluxError("EINVAL", `alloc-bypass: invalid R: ${errorText(error)}`, { cause: error });
    }
  }

  /** An event was posted for a job. */
  follow(job: Job, name: string): void {
    if (this.#loaded.size === BUILTIN.length && !this.has(PERILOG)) return;
    if (name === "submit" && this.has("alloc-bypass.so") && memberAt(job.jobspec, BYPASS_KEY) !== undefined)
      this.#surroundings.post(job, "set-flags", { flags: [ALLOC_BYPASS] });
    if (name === "validate" && this.has("submit-hold.so")) this.#hold(job);
    if (name === "priority" && this.has("alloc-bypass.so")) this.#bypass(job);
    if (name === "alloc" && this.has("alloc-check.so")) this.#check(job);
    this.#surroundings.perilog.follow(job, name);
  }

  #hold(job: Job): void {
    const { ownerUserid: userid } = this.#surroundings;
    this.#surroundings.post(job, "urgency", { userid, urgency: URGENCY_HOLD });
  }

  #bypass(job: Job): void {
    const R = memberAt(job.jobspec, BYPASS_KEY);
    if (!isJsonObject(R) || job.hasResources || job.priority === 0) return;
    try {
      this.admit(job);
    } catch (error) {
      // Submitted before the plugin was loaded.
      const userid = this.#surroundings.ownerUserid;
      this.#surroundings.raise(job, { type: "alloc", severity: 0, note: errorText(error), userid });
      return;
    }
    const dirent = makeTextVal(stringifyJson(R));
    this.#surroundings.addOperation({ key: `${fluidKvsPath(job.id)}.R`, flags: 0, dirent });
    job.R = R;
    this.#surroundings.post(job, "alloc", { bypass: true });
  }

  #check(job: Job): void {
    if (job.R === null) return;
    const own = ResourceSet.parse(job.R);
    for (const other of this.#surroundings.running()) {
      if (other === job || other.R === null || own.intersect(ResourceSet.parse(other.R)).isEmpty) continue;
      const note = "resources already allocated";
      this.#surroundings.raise(job, {
        type: "alloc-check",
        severity: 0,
        note,
        userid: this.#surroundings.ownerUserid,
      });
      return;
    }
  }
}
