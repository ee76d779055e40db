/** `flux keygen`: makes the key file that the brokers of a configured instance share (flux-keygen(1)). */
import { COMPATIBLE_VERSION } from "../../broker/boot.ts";
import { formatKeyFile } from "../../broker/boot-config.ts";
import { errnoSentence, isFluxError } from "../../base/errors.ts";
import { utf8Encode } from "../../base/bytes.ts";
import { defineCommand, type Command } from "../framework/command.ts";

const PRIVATE_MODE = 0o600;

export const command: Command = defineCommand({
  name: "keygen",
  dialect: "getopt",
  summary: "generate keys for Flux security",
  usage: "[OPTIONS] [PATH]",
  options: [
    { names: ["name"], short: "n", argument: "NAME", help: "Set certificate name (default: hostname)" },
    { names: ["meta"], argument: "KEYVALS", repeatable: true, help: "Add/update comma-separated key=value metadata" },
  ],
  operands: [{ name: "PATH", arity: "?" }],
  run: async (context) => {
    const [path, ...rest] = context.operands;
    if (rest.length > 0) return context.failUsage();
    const ports = await context.ports();
    const metadata: Record<string, string> = {
      name: context.options.text("name") ?? ports.host.hostname,
      "keygen.flux-core-version": COMPATIBLE_VERSION,
      "keygen.hostname": ports.host.hostname,
      "keygen.time": new Date(ports.clock.now() * 1000).toISOString().slice(0, 19),
      "keygen.userid": String(ports.host.uid),
    };
    for (const pair of context.options.list("meta").flatMap((list) => list.split(","))) {
      const [key, ...value] = pair.split("=");
      if (!/^[\w.-]+$/.test(key!) || /["\n]/.test(pair)) context.fail(`'${pair}' is no metadata: use KEY=VALUE`);
      metadata[key!] = value.join("=");
    }
    const text = formatKeyFile(ports.codec.generateKeyPair(), metadata);
    if (path === undefined) return context.complain("WARNING: add PATH argument to save generated certificate");
    try {
      ports.disk.writeFile(path, utf8Encode(text), { mode: PRIVATE_MODE });
    } catch (error) {
      if (!isFluxError(error)) throw error;
      context.fail(`open ${path}: ${errnoSentence(error.errnum)}`);
    }
  },
});
