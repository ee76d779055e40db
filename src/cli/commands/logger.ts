/** `flux logger`: puts messages in the log of the local broker (flux-logger(1)). */
import { utf8Decode } from "../../base/bytes.ts";
import { formatLogRecord, messageLines, SEVERITY_NAMES } from "../../broker/log-record.ts";
import { Payload } from "../../protocol/message.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";
import { getAttribute } from "../../sdk/attributes.ts";

const SEVERITY_DEFAULT = "notice";
const APPNAME_DEFAULT = "logger";

export const command: Command = defineCommand({
  name: "logger",
  usageProgram: "flux logger",
  dialect: "getopt",
  summary: "create a Flux log entry",
  description: "Send a log message to the Flux log service",
  usage: "[OPTIONS] message ...",
  stopAtOperand: true,
  options: [
    { names: ["severity"], short: "s", argument: "SEVERITY", help: "Specify the severity of the message (notice)" },
    { names: ["appname"], short: "n", argument: "NAME", help: "Specify the application name (logger)" },
  ],
  operands: [{ name: "message", arity: "*" }],
  run: logger,
});

async function logger(context: CommandContext): Promise<void> {
  const { options, operands } = context;
  const name = options.text("severity") ?? SEVERITY_DEFAULT;
  const severity = SEVERITY_NAMES.indexOf(name);
  if (severity < 0) context.fail(`invalid severity: Use ${SEVERITY_NAMES.join("|")}`);
  const appname = options.text("appname") ?? APPNAME_DEFAULT;
  if (!/^[\x21-\x7e]+$/.test(appname)) context.fail(`invalid appname '${appname}': use printable ASCII without spaces`);
  const text = operands.length > 0 ? operands.join(" ") : utf8Decode(await context.readInput());
  const { clock } = await context.ports();
  const handle = await context.open();
  const rank = await getAttribute(handle, "rank");
  const lines = messageLines(text).map((line) =>
    formatLogRecord({ timestamp: clock.now(), severity, rank, appname, procid: String(context.host.pid), text: line }),
  );
  for (const line of lines) handle.send("log.append", Payload.text(line));
  // Behind them on the same way: when this is answered, the broker has them.
  await getAttribute(handle, "rank");
}
