import assert from "node:assert/strict";
import { test } from "node:test";
import { nodeTrace } from "./trace.ts";

function traced(debug: string | undefined): string[] {
  const lines: string[] = [];
  const trace = nodeTrace({ debug, print: (line) => lines.push(line) });
  trace.event("kvs", "commit", { rank: 0, key: "a.b", id: 2n ** 60n, text: "two words", data: new Uint8Array(3) });
  trace.event("overlay", "lost", { error: new Error("gone") });
  trace.mark("kvs.merged");
  return lines.map((line) => line.replace(/^flux\[\d+\] \d+\.\d{6} /, ""));
}

test("FLUX_DEBUG names the components to print; marks are a component of their own", () => {
  const kvs = 'kvs: commit rank=0 key=a.b id=1152921504606846976 text="two words" data=<3 bytes>\n';
  assert.deepEqual(traced(undefined), []);
  assert.deepEqual(traced("kvs"), [kvs]);
  assert.deepEqual(traced("overlay,mark"), ['overlay: lost error="gone"\n', "mark: kvs.merged\n"]);
  assert.deepEqual(traced("*").length, 3);
});
