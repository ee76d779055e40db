import assert from "node:assert/strict";
import { test } from "node:test";
import { isFluxError } from "../base/errors.ts";
import type { JsonValue } from "../base/json.ts";
import { fakeResources, resourcesFromConfig } from "./resource-config.ts";
import { parseToml } from "./toml.ts";

const config = (toml: string) => (parseToml(toml)["resource"] as Record<string, JsonValue>)["config"];

test("the example of flux-config-resource(5)", () => {
  const set = resourcesFromConfig(
    config(`
[[resource.config]]
hosts = "test[1-100]"
cores = "0-7"
[[resource.config]]
hosts = "test[1,2]"
gpus = "0-1"
[[resource.config]]
hosts = "test[1-89]"
properties = ["batch"]
[[resource.config]]
hosts = "test[90-100]"
properties = ["debug"]
`),
  );
  assert.equal(set.dump(), "rank[0-1]/core[0-7],gpu[0-1] rank[2-99]/core[0-7]");
  assert.deepEqual(set.toJSON().execution.nodelist, ["test[1-100]"]);
  assert.deepEqual(set.toJSON().execution.properties, { batch: "0-88", debug: "89-99" });
});

test("a configuration that cannot be meant is refused with the entry and the reason", () => {
  const table: [JsonValue, RegExp][] = [
    [undefined as unknown as JsonValue, /^resource config must be an array$/],
    [[], /^no hosts configured$/],
    [[{}], /^config\[0\]: Object item not found: hosts$/],
    [[{ hosts: 1 }], /^config\[0\]: Expected string, got integer$/],
    [[{ hosts: "", cores: "0" }], /empty hostlist specified/],
    [[{ hosts: "foo[p]", cores: "0" }], /^config\[0\]: Invalid hostlist hosts='foo\[p\]'$/],
    [[{ hosts: "foo0", cores: "0-" }], /^config\[0\]: invalid idset cores='0-'$/],
    [[{ hosts: "foo0", gpus: "2,1" }], /invalid idset gpus='2,1'/],
    [
      [{ hosts: "foo[0-10]", cores: "0" }, { hosts: "foo[11-12]" }],
      /^resource.config: foo\[11-12\] assigned no resources$/,
    ],
    [[{ hosts: "foo", cores: "0", junk: 5 }], /^config\[0\]: 1 object item\(s\) left unpacked: junk$/],
    [[{ hosts: "foo", cores: "0", properties: ["de^bug"] }], /^config\[0\]: invalid property "de\^bug"$/],
    [[{ hosts: "foo", cores: "0", properties: [1] }], /^config\[0\]: invalid property "1": not a string$/],
    [[{ hosts: "foo", cores: "0", properties: "foo" }], /^config\[0\]: properties must be an array$/],
    [[{ hosts: "a", cores: "0" }, 3], /^config\[1\]: Expected object, got integer$/],
  ];
  for (const [value, reason] of table) {
    assert.throws(
      () => resourcesFromConfig(value),
      (error) => isFluxError(error, "EINVAL") && reason.test((error as Error).message),
      JSON.stringify(value),
    );
  }
});

test("fake resources of flux-config-fake-resources(5)", () => {
  const set = fakeResources({ nnodes: 1000, "cores-per-node": 48, "gpus-per-node": 4, "host-prefix": "node" });
  assert.equal(set.dump(), "rank[0-999]/core[0-47],gpu[0-3]");
  assert.equal(set.nodelist.format(), "node[0-999]");
  assert.equal(fakeResources({ nnodes: 2 }).dump(), "rank[0-1]/core[0-63]");
  for (const table of [
    {},
    { nnodes: 0 },
    { nnodes: 1, "cores-per-node": 0 },
    { nnodes: 1, "host-prefix": 1 },
    { nnodes: 1e9 },
  ]) {
    assert.throws(() => fakeResources(table), /fake-resources\./);
  }
});
