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

/** Throws FluxError EINVAL where the text is no topology. */
export function resourcesFromHwloc(xml: string): { cores: Idset; gpus: Idset } {
  if (!/<topology[\s>]/.test(xml))
    throw new FluxError("EINVAL", "not an hwloc topology: there is no element <topology>");
  const backends = new Map<string, Set<string>>();
  let coreCount = 0;
  for (const [, attributes = ""] of xml.matchAll(TAG)) {
    const { type, name = "" } = attributesOf(attributes);
    if (type === "Core") coreCount++;
    const backend = type === "OSDev" ? GPU_NAME.exec(name)?.[1] : undefined;
    if (backend === undefined) continue;
    const known = backends.get(backend);
    if (known === undefined) backends.set(backend, new Set([name]));
    else known.add(name);
  }
  const gpuCount = Math.max(0, ...[...backends.values()].map((names) => names.size));
  return { cores: Idset.upTo(coreCount), gpus: Idset.upTo(gpuCount) };
}

function attributesOf(text: string): Partial<Record<string, string>> {
  return Object.fromEntries([...text.matchAll(ATTRIBUTE)].map(([, key, value]) => [key!, value!]));
}
