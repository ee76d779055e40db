/** `flux uri`: the URI of an instance (flux-uri(1)). */
import { errorText } from "../../base/errors.ts";
import { defineCommand, type Command } from "../framework/command.ts";
import { resolveTarget } from "../target.ts";

export const command: Command = defineCommand({
  name: "uri",
  dialect: "argparse",
  summary: "resolve Flux URIs",
  description: "Resolve TARGET to a Flux URI",
  options: [
    { names: ["remote"], help: "convert a local URI to remote" },
    { names: ["local"], help: "convert a remote URI to local" },
    { names: ["wait"], help: "wait for the URI of a job to become available" },
  ],
  operands: [{ name: "TARGET", arity: "1", help: "a URI, a job id, a path of job ids, or pid:PID" }],
  epilogue: "Supported resolver schemes: jobid, pid\n",
  run: async (context) => {
    const form = context.options.has("local") ? "?local" : context.options.has("remote") ? "?remote" : "";
    const word = form === "" ? context.operands[0]! : context.operands[0]!.split("?", 1)[0]! + form;
    const isPatient = context.options.has("wait");
    const uri = await resolveTarget(context, word, isPatient).catch((error: unknown) => context.fail(errorText(error)));
    context.out(`${uri}\n`);
  },
});
