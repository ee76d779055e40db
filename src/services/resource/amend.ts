/**
 * Amending a made-up cluster (flux-config-fake-resources(5), `amend-r`): a Python callable of the user's gets R and may change
 * it before it becomes the inventory.
 *
 * The callable runs in a Python interpreter of its own, which is started for this and ends with it. It is named as
 * `MODULE:NAME`, or as a file with a function `amend`.
 */
import { utf8Decode, utf8Encode } from "../../base/bytes.ts";
import { FluxError } from "../../base/errors.ts";
import { stringifyJson } from "../../base/json.ts";
import type { Ports } from "../../base/ports.ts";
import { ResourceSet } from "../../formats/resource-set.ts";

/** Reads {R, xml} from standard input, and writes what the callable makes of R. */
const PROGRAM = `
import importlib, importlib.util, json, os, sys
reference = sys.argv[1]
given = json.load(sys.stdin)
output = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
if ":" in reference:
    path, name = reference.split(":", 1)
    amend = getattr(importlib.import_module(path), name)
else:
    spec = importlib.util.spec_from_file_location("amender", reference)
    if spec is None or not os.path.exists(reference):
        sys.exit("no such Python file: " + reference)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    amend = module.amend
json.dump(amend(given["R"], hwloc_xml=given["xml"]), output)
`;

/** What the callable makes of `resources`. Throws FluxError EINVAL with the last line of what it complained of. */
export async function amendResources(
  ports: Ports,
  reference: string,
  resources: ResourceSet,
  xml: string | null,
): Promise<ResourceSet> {
  const { host } = ports;
  const output = { stdout: "", stderr: "" };
  const isSuccess = await new Promise<boolean>((resolve) => {
    const child = ports.exec.spawn(
      {
        argv: [host.env["FLUX_PYTHON"] ?? "python3", "-c", PROGRAM, reference],
        env: host.env,
        cwd: host.cwd,
        stdin: "pipe",
        stdout: "pipe",
        stderr: "pipe",
        diesWithParent: true,
      },
      {
        output: (stream, chunk) => {
          if (chunk !== null) output[stream as "stdout" | "stderr"] += utf8Decode(chunk);
        },
        exit: (status) => resolve(status === 0),
      },
    );
    child.write("stdin", utf8Encode(stringifyJson({ R: resources.toJSON(), xml })));
    child.closeInput("stdin");
  });
  const complaint = output.stderr.trim().split("\n").at(-1) ?? "";
  if (!isSuccess) throw new FluxError("EINVAL", `fake-resources.amend-r: ${reference}: ${complaint}`);
  return ResourceSet.parseText(output.stdout);
}
