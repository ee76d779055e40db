import assert from "node:assert/strict";
import { spawn, type StdioOptions } from "node:child_process";
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

const directory = mkdtempSync(join(tmpdir(), "flux-input-"));
after(() => rmSync(directory, { recursive: true, force: true }));

/** Tells the length and the last byte of what comes in, and each piece's arrival if asked to. */
const PROGRAM = `
  import { inputChunks } from ${JSON.stringify(join(import.meta.dirname, "input.ts"))};
  let length = 0, last = -1;
  try {
    for await (const chunk of inputChunks()) {
      length += chunk.byteLength;
      last = chunk.at(-1);
      if (process.argv[1] === "echo") console.log(String(Buffer.from(chunk)));
    }
    console.log(length, last);
  } catch (error) {
    console.log(error.message);
  }
`;

interface Reader {
  readonly input: NodeJS.WritableStream | null;
  /** Resolves when so much has been printed. */
  printed(text: string): Promise<void>;
  readonly output: Promise<string>;
}

function reader(
  stdin: StdioOptions[number & keyof StdioOptions] | number | "pipe" | "ignore",
  ...words: string[]
): Reader {
  const options = ["--input-type=module", "--disable-warning=ExperimentalWarning", "--eval", PROGRAM, "--", ...words];
  const child = spawn(process.execPath, options, { stdio: [stdin as number, "pipe", "inherit"] });
  let output = "";
  let wake = (): void => undefined;
  child.stdout!.on("data", (chunk) => {
    output += chunk;
    wake();
  });
  return {
    input: child.stdin,
    async printed(text) {
      while (!output.includes(text)) await new Promise<void>((resolve) => (wake = resolve));
    },
    output: new Promise((resolve) => child.on("close", () => resolve(output))),
  };
}

test("a file is read to its end, from where the descriptor stands", async () => {
  const path = join(directory, "file");
  writeFileSync(path, new Uint8Array(200_000).fill(7));
  const fd = openSync(path, "r");
  assert.equal(await reader(fd).output, "200000 7\n");
  assert.equal(await reader(fd).output, "0 -1\n", "another process read it all before");
  closeSync(fd);
});

test("the null device is empty", async () => {
  assert.equal(await reader("ignore").output, "0 -1\n");
});

test("what comes through a pipe is told as it comes, to the end", async () => {
  const { input, printed, output } = reader("pipe", "echo");
  input!.write("first");
  await printed("first");
  input!.write("second");
  await printed("second");
  input!.end();
  assert.equal(await output, "first\nsecond\n11 100\n");
});

test("megabytes through a pipe are whole", async () => {
  const { input, output } = reader("pipe");
  input!.end(new Uint8Array(5_000_000).fill(9));
  assert.equal(await output, "5000000 9\n");
});

test("what cannot be read is an error that says so", async () => {
  const fd = openSync(directory, "r");
  assert.match(await reader(fd).output, /Is a directory|EISDIR/);
  closeSync(fd);
});
