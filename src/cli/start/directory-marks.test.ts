/** Which directories of dead brokers are removed, and which must stay. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { keepDirectory, markDirectory, removeStaleDirectories, type ProcessIdentity } from "./directory-marks.ts";

/** Makes directories in a fresh place, lets dead brokers be looked for, and tells which are left. */
async function survivors(make: (parent: string) => void, names: readonly string[]): Promise<string[]> {
  const parent = mkdtempSync(join(tmpdir(), "flux-marks-"));
  try {
    for (const name of names) mkdirSync(join(parent, name));
    make(parent);
    await removeStaleDirectories([parent, join(parent, "nowhere")]);
    return names.filter((name) => existsSync(join(parent, name)));
  } finally {
    rmSync(parent, { recursive: true });
  }
}

function mark(path: string, change: Partial<ProcessIdentity>, role = "owner"): void {
  markDirectory(path, "user");
  const file = join(path, `.user-${process.pid}`);
  const own = JSON.parse(readFileSync(file, "utf8")) as ProcessIdentity;
  rmSync(file);
  const identity = { ...own, ...change };
  writeFileSync(join(path, `.${role}-${identity.pid}`), JSON.stringify(identity));
}

const deadPid = (): number => spawnSync("true").pid;

test("a directory whose process is gone is removed; one whose process lives stays", async () => {
  const left = await survivors(
    (parent) => {
      mark(join(parent, "flux-dead00"), { pid: deadPid() });
      markDirectory(join(parent, "flux-alive0"), "owner");
    },
    ["flux-dead00", "flux-alive0"],
  );
  assert.deepEqual(left, ["flux-alive0"]);
});

test("a number that another process has now does not keep the directory", async () => {
  assert.deepEqual(await survivors((parent) => mark(join(parent, "flux-reused"), { start: "1" }), ["flux-reused"]), []);
  assert.deepEqual(await survivors((parent) => mark(join(parent, "flux-reboot"), { boot: "x" }), ["flux-reboot"]), []);
});

test("as long as one broker uses a directory it stays, whoever made it", async () => {
  const make = (parent: string): void => {
    mark(join(parent, "flux-shared"), { pid: deadPid() });
    markDirectory(join(parent, "flux-shared"), "user");
  };
  assert.deepEqual(await survivors(make, ["flux-shared"]), ["flux-shared"]);
});

test("what is not certain stays: no mark, another host or namespace, another name, a choice of the user", async () => {
  const names = ["flux-nomark", "flux-other0", "flux-space0", "flux-broken", "flux-kept00", "mydata", "flux-useful"];
  const pid = deadPid();
  const left = await survivors((parent) => {
    mark(join(parent, "flux-other0"), { pid, host: "elsewhere" });
    mark(join(parent, "flux-space0"), { pid, namespace: "pid:[1]" });
    writeFileSync(join(parent, "flux-broken", ".owner-1"), "{");
    mark(join(parent, "flux-kept00"), { pid });
    keepDirectory(join(parent, "flux-kept00"));
    mark(join(parent, "mydata"), { pid });
    mark(join(parent, "flux-useful"), { pid }, "user");
  }, names);
  assert.deepEqual(left, names);
});
