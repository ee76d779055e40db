/**
 * What a machine has, from hwloc's XML export of its topology (versions 1 and 2 of the format): cores and GPUs.
 *
 * Cores are numbered in the order of the document, which is hwloc's logical order, whatever the machine calls them. GPUs are the devices of the back end
 * that finds the most: the same card may be listed by several (`cuda0`, `opencl0d0`).
 *
 * Does not know: caches, memory, distances; XML beyond tags and their attributes.
 */
import { FluxError } from "../base/errors.ts";
import { Idset } from "./idset.ts";

const TAG = /<object\s+([^>]*?)\/?>/g;
const ATTRIBUTE = /([\w-]+)\s*=\s*"([^"]*)"/g;
/** Device names of the back ends that know compute devices. */
const GPU_NAME = /^(cuda|rsmi|ze|opencl)(\d+)(?:\D\d+)?(?:\.\d+)?$/;

/**
 * Throws FluxError EINVAL where the text is no topology. With `allowedCpus` only cores that have one of these CPUs
 * (hardware threads) count.
 */
export function resourcesFromHwloc(xml: string, allowedCpus?: Idset): { cores: Idset; gpus: Idset } {
  if (!/<topology[\s>]/.test(xml))
    throw new FluxError("EINVAL", "not an hwloc topology: there is no element <topology>");
  const backends = new Map<string, Set<string>>();
  const cores: number[][] = [];
  for (const [, attributes = ""] of xml.matchAll(TAG)) {
    const { type, name = "", os_index: index } = attributesOf(attributes);
    if (type === "Core") cores.push([]);
    // The CPUs of a core are inside it, so they come after it.
    if (type === "PU" && index !== undefined) cores.at(-1)?.push(Number(index));
    const backend = type === "OSDev" ? GPU_NAME.exec(name)?.[1] : undefined;
    if (backend === undefined) continue;
    const known = backends.get(backend);
    if (known === undefined) backends.set(backend, new Set([name]));
    else known.add(name);
  }
  const usable = allowedCpus === undefined ? cores : cores.filter((cpus) => cpus.some((cpu) => allowedCpus.has(cpu)));
  const gpuCount = Math.max(0, ...[...backends.values()].map((names) => names.size));
  return { cores: Idset.upTo(usable.length), gpus: Idset.upTo(gpuCount) };
}

/** The name of the machine; null where the text does not say. */
export function hostOfHwloc(xml: string): string | null {
  for (const [, attributes = ""] of xml.matchAll(/<info\s+([^>]*?)\/?>/g)) {
    const { name, value } = attributesOf(attributes);
    if (name === "HostName" && value !== undefined) return value;
  }
  return null;
}

function attributesOf(text: string): Partial<Record<string, string>> {
  return Object.fromEntries([...text.matchAll(ATTRIBUTE)].map(([, key, value]) => [key!, value!]));
}

/**
 * A machine of one package, in version 2 of the format: its cores, each with the numbers of its CPUs (hardware threads).
 * What it has besides is not told.
 */
export function hwlocXml(host: string, cores: readonly (readonly number[])[]): string {
  let index = 0;
  const object = (type: string, number: number, cpus: readonly number[], extra: string, children: string): string => {
    const set = bitmap(cpus);
    const sets = `cpuset="${set}" complete_cpuset="${set}" nodeset="0x00000001" complete_nodeset="0x00000001"`;
    const head = `<object type="${type}" os_index="${number}" ${sets}${extra} gp_index="${++index}"`;
    return children === "" ? `${head}/>` : `${head}>${children}</object>`;
  };
  const all = cores.flat();
  const coreObjects = cores.map((cpus, core) =>
    object("Core", core, cpus, "", cpus.map((cpu) => object("PU", cpu, [cpu], "", "")).join("")),
  );
  const inside = [object("NUMANode", 0, all, "", ""), object("Package", 0, all, "", coreObjects.join(""))].join("");
  const info = `<info name="HostName" value="${escaped(host)}"/>`;
  const allowed = ` allowed_cpuset="${bitmap(all)}" allowed_nodeset="0x00000001"`;
  const machine = object("Machine", 0, all, allowed, info + inside);
  const head = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE topology SYSTEM "hwloc2.dtd">\n';
  return `${head}<topology version="2.0">${machine}</topology>\n`;
}

/** A set as hwloc writes it: words of 32 bits, the highest first. */
function bitmap(members: readonly number[]): string {
  const words: number[] = [];
  for (const member of members) {
    const word = Math.floor(member / 32);
    while (words.length <= word) words.push(0);
    words[word] = (words[word]! | (1 << (member % 32))) >>> 0;
  }
  const texts = words.map((word) => `0x${word.toString(16).padStart(8, "0")}`);
  return texts.length === 0 ? "0x0" : texts.toReversed().join(",");
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}
