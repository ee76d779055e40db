/** `flux uri`: the URI of an instance (flux-uri(1)). */
import { errorText } from "../../base/errors.ts";
import { defineCommand, type Command } from "../framework/command.ts";
import { RESOLVERS, resolveTarget } from "../uri/resolve.ts";

export const command: Command = defineCommand({
  name: "uri",
  dialect: "argparse",
  summary: "resolve Flux URIs",
  description: "Resolve TARGET to a Flux URI",
  options: [
    { names: ["remote"], help: "convert a local URI to remote" },
    { names: ["local"], help: "convert a remote URI to local" },
    { names: ["wait"], help: "wait for a URI to become available, if supported" },
  ],
  operands: [{ name: "TARGET", arity: "1", help: "A Flux jobid or URI in scheme:argument form (e.g. jobid:f1234)" }],
  epilogue: `Supported resolver schemes:\n${Object.entries(RESOLVERS)
    .map(([name, text]) => `  ${name}\t\t${text}\n`)
    .join("")}`,
  run: async (context) => {
    const { options, operands } = context;
    const forms = ["local", "remote", "wait"].filter((name) => options.has(name));
    const target = operands[0]!;
    const word = forms.length === 0 ? target : `${target}${target.includes("?") ? "&" : "?"}${forms.join("&")}`;
    const uri = await resolveTarget(context, word).catch((error: unknown) => context.fail(errorText(error)));
    context.out(`${uri}\n`);
  },
});
