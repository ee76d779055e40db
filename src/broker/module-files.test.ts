/** Where the code of a module is, and what runs it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FluxError } from "../base/errors.ts";
import type { Disk, FileInfo } from "../base/ports.ts";
import { findModuleFile, loaderCommand, moduleNameOf, type ModuleRegistry } from "./module-files.ts";

const REGISTRY: ModuleRegistry = { kvs: () => Promise.reject(new Error("not loaded in this test")) };

/** Files by path; their directories are there, too. */
function diskWith(...paths: string[]): Disk {
  const under = (directory: string): string[] => paths.filter((path) => path.startsWith(`${directory}/`));
  const info = (path: string): FileInfo | null => {
    const kind = paths.includes(path) ? "file" : under(path).length > 0 ? "directory" : null;
    return kind === null ? null : { kind, sizeBytes: 1, mode: 0o755, mtime: 0 };
  };
  const list = (path: string): string[] => under(path).map((each) => each.slice(path.length + 1));
  return { info, list } as unknown as Disk;
}

function find(path: string, disk: Disk, loader: string | null = null, searchPath: string[] = ["", "/none", "/mods"]) {
  return findModuleFile({ path, loader }, REGISTRY, disk, searchPath);
}

test("a module has the name of its file, without what says how it is written", () => {
  const names = {
    "/a/kvs.so": "kvs",
    "t.so.1.2.3": "t",
    "./my.py": "my",
    "x.mts": "x",
    "a.b.js": "a.b",
    kvs: "kvs",
    "/x/n.lua": "n",
  };
  for (const [path, name] of Object.entries(names)) assert.equal(moduleNameOf(path), name, path);
});

test("the suffix of a file says what runs it", () => {
  const disk = diskWith("/m/a.so.1", "/m/b.py", "/m/c.ts", "/m/d.txt");
  assert.deepEqual(find("/m/a.so.1", disk), { path: "/m/a.so.1", loader: "module-exec" });
  assert.deepEqual(find("/m/b.py", disk), { path: "/m/b.py", loader: "module-python-exec" });
  assert.deepEqual(find("/m/c.ts", disk), { path: "/m/c.ts", loader: "module-node-exec" });
  assert.deepEqual(find("/m/d.txt", disk, "/bin/mine"), { path: "/m/d.txt", loader: "/bin/mine" });
  assert.throws(() => find("/m/d.txt", disk), { message: "could not determine loader from path suffix" });
});

test("a name is that of a part of the broker, or of a file in the search path", () => {
  const disk = diskWith("/mods/kvs.ts", "/mods/mine.so.0.1", "/mods/notes.txt");
  assert.equal(find("kvs", disk), null);
  assert.deepEqual(find("mine", disk), { path: "/mods/mine.so.0.1", loader: "module-exec" });
  for (const name of ["notes", "other"]) assert.throws(() => find(name, disk), { message: /not found in search path/ });
});

test("directories that may not be looked into have nothing for us", () => {
  const disk = diskWith("/mods/mine.ts", "/bin/flux-module-node-exec");
  const closed: Disk = {
    ...disk,
    info: (path) => {
      if (path.startsWith("/root/")) throw new FluxError("EACCES");
      return disk.info(path);
    },
  };
  assert.equal(find("mine", closed, null, ["/root/mods", "/mods"])?.path, "/mods/mine.ts");
  const command = loaderCommand("module-node-exec", "/opt/flux", closed, { PATH: "/root/bin:/bin" });
  assert.deepEqual(command, ["/bin/flux-module-node-exec"]);
  assert.throws(() => find("/root/mine.ts", closed), { message: "Permission denied" });
});

test("a path that leads to a file means that file; one that leads nowhere may name a part of the broker", () => {
  assert.deepEqual(find("/x/kvs.so", diskWith("/x/kvs.so"))?.path, "/x/kvs.so");
  assert.equal(find("/x/kvs.so", diskWith()), null);
  assert.throws(
    () => find("/x/mine.so", diskWith()),
    (error: FluxError) => error.is("ENOENT"),
  );
});

test("a loader is a program of its own where there is one, a command of flux otherwise", () => {
  const disk = diskWith("/exec/flux-module-exec", "/exec/flux-module-python-exec.py");
  const command = (loader: string, env = {}): readonly string[] =>
    loaderCommand(loader, "/bin/flux", disk, { FLUX_EXEC_PATH: ":/exec", PATH: "/bin", ...env });
  assert.deepEqual(command("module-exec"), ["/exec/flux-module-exec"]);
  assert.deepEqual(command("module-python-exec"), ["python3", "/exec/flux-module-python-exec.py"]);
  assert.deepEqual(command("module-python-exec", { FLUX_PYTHON: "/usr/bin/python3" })[0], "/usr/bin/python3");
  assert.deepEqual(command("module-node-exec"), ["/bin/flux", "module-node-exec"]);
  assert.deepEqual(command("/home/me/loader"), ["/home/me/loader"]);
});
