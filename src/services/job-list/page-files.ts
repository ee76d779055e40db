/**
 * The pages of finished jobs as files: `N` with its jobs, and `N.index` with what has to be known without reading them. In
 * a state directory they are kept when the service ends, and the next one goes on with them: a job that has ended never
 * changes.
 *
 * Invariants: an index is written after its page, and names its digest; a page without an index that fits is no page.
 */
import { utf8Decode, utf8Encode } from "../../base/bytes.ts";
import { isFluxError } from "../../base/errors.ts";
import { isJsonObject, parseJson, stringifyJson, type Integer } from "../../base/json.ts";
import type { Codec, Disk } from "../../base/ports.ts";
import type { PageIndex, PageStore, StoredPage, Tally } from "./finished.ts";

/** Grows with what records hold: pages of another version are of no use. */
const VERSION = 1;
const MODE = 0o600;

export class PageFiles implements PageStore {
  readonly #disk: Disk;
  readonly #codec: Codec;
  readonly #directory: string;
  /** Pages that were to be removed while two lists share them; null where none do. */
  #unneeded: number[] | null = null;

  constructor(disk: Disk, codec: Codec, directory: string) {
    this.#disk = disk;
    this.#codec = codec;
    this.#directory = directory;
  }

  /** What an earlier service left, by number; what is none of its pages is removed. */
  load(): StoredPage[] {
    if (this.#disk.info(this.#directory) === null) return [];
    const pages: StoredPage[] = [];
    const names = this.#disk.list(this.#directory);
    const indexes = names.filter((name) => /^\d+\.index$/.test(name));
    for (const name of indexes) {
      const number = Number.parseInt(name, 10);
      const index = this.#readIndex(number);
      if (index !== null) pages.push({ number, index });
    }
    pages.sort((left, right) => left.number - right.number);
    const kept = new Set(pages.flatMap(({ number }) => [String(number), `${number}.index`]));
    for (const name of names) if (!kept.has(name)) this.#disk.remove(`${this.#directory}/${name}`);
    return pages;
  }

  #readIndex(number: number): PageIndex | null {
    try {
      const value = parseJson(utf8Decode(this.#codec.decompress(this.#disk.readFile(this.#pathOf(number, ".index")))));
      if (!isJsonObject(value) || value["version"] !== VERSION) return null;
      const { digest, ids, times, tallies } = value;
      if (digest !== this.#codec.digestHex("sha1", this.#disk.readFile(this.#pathOf(number)))) return null;
      return { ids: ids as Integer[], times: times as number[], tallies: tallies as unknown as Tally[] };
    } catch (error) {
      // What a crash left half written, or somebody else wrote.
      if (isFluxError(error)) return null;
      throw error;
    }
  }

  write(page: number, data: Uint8Array, index: PageIndex): void {
    // An instance with few jobs has no directory.
    this.#disk.makeDirectory(this.#directory, { mode: 0o700, recursive: true });
    const packed = this.#codec.compress(data);
    this.#disk.writeFile(this.#pathOf(page), packed, { mode: MODE });
    const text = stringifyJson({ version: VERSION, digest: this.#codec.digestHex("sha1", packed), ...index });
    this.#disk.writeFile(this.#pathOf(page, ".index"), this.#codec.compress(utf8Encode(text)), { mode: MODE });
  }

  read(page: number): Uint8Array {
    return this.#codec.decompress(this.#disk.readFile(this.#pathOf(page)));
  }

  remove(page: number): void {
    if (this.#unneeded !== null) return void this.#unneeded.push(page);
    this.#disk.remove(this.#pathOf(page, ".index"));
    this.#disk.remove(this.#pathOf(page));
  }

  /** Another list takes over the pages: until it has, none goes. */
  share(): void {
    this.#unneeded ??= [];
  }

  /** One list is left. */
  settle(): void {
    const unneeded = this.#unneeded ?? [];
    this.#unneeded = null;
    for (const page of new Set(unneeded)) this.remove(page);
  }

  removeAll(): void {
    this.#disk.remove(this.#directory);
  }

  #pathOf(page: number, suffix = ""): string {
    return `${this.#directory}/${page}${suffix}`;
  }
}
