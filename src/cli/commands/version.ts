/** `flux version`: what this is, and what it is compatible with. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { isFluxError } from "../../base/errors.ts";
import { COMPATIBLE_VERSION } from "../../broker/boot.ts";
import { installRoot } from "../../host/paths.ts";
import { connect } from "../framework/connect.ts";
import { defineCommand, type Command } from "../framework/command.ts";
import { getAttribute } from "../../sdk/attributes.ts";

export const command: Command = defineCommand({
  name: "version",
  usageProgram: "flux version",
  program: "flux",
  dialect: "getopt",
  summary: "Display flux version information",
  description: "Display flux version information",
  run: async (context) => {
    const { version } = JSON.parse(readFileSync(join(installRoot(), "package.json"), "utf8")) as { version: string };
    context.out(`commands:    \t\t${version}\n`);
    const uri = context.host.env["FLUX_URI"];
    if (uri !== undefined) {
      try {
        const handle = await connect(uri);
        const value = await getAttribute(handle, "version");
        handle.close();
        context.out(`broker:  \t\t${value}\nFLUX_URI:\t\t${uri}\n`);
      } catch (error) {
        if (!isFluxError(error)) throw error;
      }
    }
    context.out(`compatible:  \t\tflux-core ${COMPATIBLE_VERSION}\n`);
  },
});
