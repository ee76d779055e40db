import assert from "node:assert/strict";
import { test } from "node:test";
import { Idset } from "./idset.ts";
import { hostOfHwloc, hwlocXml, resourcesFromHwloc } from "./hwloc-xml.ts";

function topology(...objects: readonly string[]): string {
  return `<?xml version="1.0"?>\n<topology>\n <object type="Machine">\n${objects.join("\n")}\n </object>\n</topology>\n`;
}

test("cores are numbered from 0 in the order of the document, whatever the machine calls them", () => {
  const pus = (first: number): string =>
    `<object type="PU" os_index="${first}"/><object type="PU" os_index="${first + 1}"/>`;
  const xml = topology(
    `<object type="Core" os_index="8" cpuset="0x3">${pus(0)}</object>`,
    `<object type="Core" os_index="12" cpuset="0xc">${pus(2)}</object>`,
  );
  const { cores, gpus } = resourcesFromHwloc(xml);
  assert.equal(cores.format(), "0-1");
  assert.equal(gpus.format(), "");
});

test("a GPU that several back ends list counts once; other devices do not count", () => {
  const device = (name: string): string => `<object type="OSDev" name="${name}" osdev_type="5"/>`;
  const names = ["cuda0", "opencl0d0", "cuda1", "opencl0d1", "eth0", "nvme0n1", "card0", "rsmi0"];
  assert.equal(resourcesFromHwloc(topology(...names.map(device))).gpus.format(), "0-1");
});

test("what is no topology is refused", () => {
  assert.throws(() => resourcesFromHwloc("<html></html>"), /not an hwloc topology/);
});

test("a machine is written so that it is read back: cores with their hardware threads, beyond one word of bits", () => {
  const cores = [
    [0, 40],
    [1, 41],
    [7, 47],
  ];
  const xml = hwlocXml('a<"b">', cores);
  assert.equal(resourcesFromHwloc(xml).cores.toString(), "0-2");
  assert.match(xml, /type="Machine" os_index="0" cpuset="0x00008300,0x00000083"/);
  assert.match(xml, /type="PU" os_index="47" cpuset="0x00008000,0x00000000"/);
  assert.match(xml, /value="a&lt;&quot;b&quot;>"/);
});

test("cores that none of the allowed CPUs is in do not count", () => {
  const xml = hwlocXml("vm", [
    [0, 4],
    [1, 5],
    [2, 6],
  ]);
  const coresWith = (cpus: number[]): string => resourcesFromHwloc(xml, Idset.from(cpus)).cores.toString();
  assert.equal(resourcesFromHwloc(xml).cores.toString(), "0-2");
  assert.equal(coresWith([4, 0]), "0");
  assert.equal(coresWith([5, 6]), "0-1");
  assert.equal(coresWith([9]), "");
  assert.equal(hostOfHwloc(xml), "vm");
});
