import assert from "node:assert/strict";
import { test } from "node:test";
import { Hostlist } from "../../formats/hostlist.ts";
import { Idset } from "../../formats/idset.ts";
import { ResourceSet } from "../../formats/resource-set.ts";
import { placeBrokers } from "./enclosing.ts";
import { rankByHosts } from "./inventory.ts";

/** What a job got: cores 2-3 and GPU 1 on two nodes, ranks 4 and 7 of the enclosing instance. */
const given = ResourceSet.of({
  ranks: Idset.parse("4,7"),
  cores: Idset.parse("2-3"),
  gpus: Idset.parse("1"),
  hosts: Hostlist.parse("n[4,7]"),
})
  .withProperty("big", Idset.parse("7"))
  .with({ starttime: 100, expiration: 700 });

const asText = (set: ResourceSet | null): string | undefined => set?.dump();

test("a nested instance counts ranks and bound cores from 0; GPUs keep the names by which programs find them", () => {
  const own = placeBrokers(given, 2, null, 2)!;
  assert.equal(asText(own), "rank[0-1]/core[0-1],gpu1");
  assert.equal(own.nodelist.toString(), "n[4,7]");
  assert.deepEqual([own.starttime, own.expiration], [100, 700]);
  assert.equal(own.properties.get("big")?.toString(), "1");
});

test("a broker that is not bound to its cores leaves their numbers: tasks are bound to those that were granted", () => {
  assert.equal(asText(placeBrokers(given, 2, null, 8)), "rank[0-1]/core[2-3],gpu1");
  // Made-up resources, which this machine does not have, bind nobody.
  assert.equal(asText(placeBrokers(given, 2, null, 3)), "rank[0-1]/core[0-1],gpu1");
});

test("brokers that stand in another order than the nodes of the job have what their own hosts have", () => {
  const own = rankByHosts(placeBrokers(given, 2, null, 2)!, ["n7", "n4"]);
  assert.equal(own.nodelist.toString(), "n[7,4]");
  assert.equal(own.properties.get("big")?.toString(), "0");
  // Hosts by other names say nothing.
  assert.equal(rankByHosts(own, ["a", "b"]).nodelist.toString(), "n[7,4]");
});

test("brokers that share a node have what the node was given, wherever the launcher put them", () => {
  const own = placeBrokers(given, 4, "[[0,1,3,1],[1,1,1,1]]", 2)!;
  assert.equal(asText(own), "rank[0-3]/core[0-1],gpu1");
  assert.equal(own.nodelist.toString(), "n[4,4,4,7]");
  assert.equal(own.properties.get("big")?.toString(), "3");
  const cyclic = placeBrokers(given, 4, "[[0,2,1,2]]", 2)!;
  assert.equal(cyclic.properties.get("big")?.toString(), "1,3");
});

test("where nobody says which broker is on which node, nothing is guessed", () => {
  for (const mapping of [null, "[]", "[[0,1,3,1]]", "[[0,4,1,1]]"])
    assert.equal(placeBrokers(given, 3, mapping, 2), null, String(mapping));
});
