/**
 * Repairing a version of the key-value store: what is broken is taken out, and what can be saved of it is put under
 * `lost+found`, by the same key. The result becomes the next checkpoint.
 *
 * Invariant: nothing that can be read is lost; what is in `lost+found` already keeps its name.
 */
import { concatBytes } from "../../base/bytes.ts";
import { isFluxError } from "../../base/errors.ts";
import type { Blobref } from "../../formats/blobref.ts";
import { parseFluid } from "../../formats/fluid.ts";
import { makeValref, type Dirref, type Treeobj, type Valref } from "../../formats/treeobj.ts";
import type { CommandContext } from "../framework/command.ts";
import { jobIdText } from "../jobs/client.ts";
import type { BlobStore } from "./blobs.ts";
import { Directory } from "./directories.ts";
import { rescueDirectory } from "./rescue.ts";
import { inlineValue } from "./tree-builder.ts";
import { TreeEditor } from "./tree-editor.ts";
import type { TreePath } from "./walk.ts";

const LOST_AND_FOUND = "lost+found";
/** `job` and the four groups of a job's path. */
const JOB_PATH_NAMES = 5;

export class Repair {
  readonly #context: CommandContext;
  readonly #store: BlobStore;
  readonly #editor: TreeEditor;
  readonly #jobs = new Map<string, TreePath>();
  #repairs = 0;
  #unlinked = 0;

  private constructor(context: CommandContext, store: BlobStore, editor: TreeEditor) {
    this.#context = context;
    this.#store = store;
    this.#editor = editor;
  }

  /** Throws where the root cannot be read. */
  static async open(context: CommandContext, store: BlobStore, rootref: Blobref): Promise<Repair> {
    return new Repair(context, store, await TreeEditor.open(store, rootref));
  }

  /** A value some of whose blobs are missing: those that are there are kept. */
  async value(path: TreePath, { data }: Valref, missing: readonly number[]): Promise<void> {
    const kept = data.filter((_, index) => !missing.includes(index));
    await this.#moveAside(path, kept.length === 0 ? inlineValue(concatBytes([])) : makeValref(kept));
  }

  /** A directory that cannot be read. */
  async directory(path: TreePath, { data }: Dirref): Promise<void> {
    const rescued = await rescueDirectory(this.#store, data[0]!);
    if (rescued !== null) return this.#moveAside(path, rescued);
    await this.#editor.remove(path);
    this.#unlinked++;
    this.#tell(`${path.join(".")} unlinked due to missing blobref`);
    this.#noteJob(path);
  }

  /** Makes the checkpoint. Ends the command where that fails. */
  async finish(): Promise<void> {
    if (this.#repairs + this.#unlinked > 0) await this.#save();
    if (this.#repairs > 0) this.#context.complain(`Total repairs: ${this.#repairs}`);
    if (this.#repairs + this.#unlinked > 0) this.#tell(`Total unlinked directories: ${this.#unlinked}`);
  }

  async #save(): Promise<void> {
    for (const path of this.#jobs.values()) await this.#moveJob(path);
    try {
      const rootref = await this.#editor.save();
      const timestamp = (await this.#context.ports()).clock.now();
      await this.#store.putCheckpoint(rootref, timestamp, { continues: true });
    } catch (error) {
      if (isFluxError(error)) this.#context.fail(`error updating checkpoint: ${error.message}`);
      throw error;
    }
    this.#tell(`Updated primary checkpoint to include ${LOST_AND_FOUND}`);
  }

  async #moveAside(path: TreePath, entry: Directory | Treeobj): Promise<void> {
    await this.#editor.remove(path);
    const isAside = path[0] === LOST_AND_FOUND;
    await this.#editor.putAside(isAside ? path : [LOST_AND_FOUND, ...path], entry);
    this.#repairs++;
    this.#tell(`${path.join(".")} repaired and ${isAside ? "left in" : "moved to"} ${LOST_AND_FOUND}`);
    this.#noteJob(path);
  }

  #noteJob(path: TreePath): void {
    const job = path.slice(0, JOB_PATH_NAMES);
    if (this.#context.options.has("job-aware") && job[0] === "job" && job.length === JOB_PATH_NAMES)
      this.#jobs.set(job.join("."), job);
  }

  /** A job with a broken part goes as a whole. */
  async #moveJob(path: TreePath): Promise<void> {
    const entry = await this.#editor.find(path);
    if (entry !== null) {
      await this.#editor.remove(path);
      await this.#editor.putAside([LOST_AND_FOUND, ...path], entry);
    }
    this.#tell(`job ${jobIdText(parseFluid(path.join(".")))} moved to ${LOST_AND_FOUND}`);
  }

  #tell(text: string): void {
    if (!this.#context.options.has("quiet")) this.#context.complain(text);
  }
}
