/** `flux R`: read, make and combine resource sets (RFC 20). Knows no broker: sets come on standard input. */
import { utf8Decode } from "../../base/bytes.ts";
import { errorText, FluxError, isFluxError } from "../../base/errors.ts";
import { isJsonObject, type JsonValue } from "../../base/json.ts";
import { matchingRanks } from "../../formats/constraint.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { Idset } from "../../formats/idset.ts";
import { checkPropertyName, checkRankCount, ResourceSet } from "../../formats/resource-set.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";
import { jsonOf, readSets } from "../resource/input.ts";
import { resourceSetText } from "../output/resource-set-text.ts";

const encode: Command = {
  name: "encode",
  dialect: "getopt",
  summary: "make a resource set from options",
  usage: "[OPTIONS]...",
  description: "Encode RFC 20 R objects for testing.",
  options: [
    {
      names: ["ranks"],
      short: "r",
      argument: "IDSET",
      help: 'Ranks of the set. Default: one for each of --hosts, or else "0"',
    },
    {
      names: ["cores"],
      short: "c",
      argument: "IDS",
      help: 'Cores of each rank (default: "0" where there are no GPUs)',
    },
    { names: ["gpus"], short: "g", argument: "IDS", help: "GPUs of each rank (default: none)" },
    {
      names: ["hosts"],
      short: "H",
      argument: "HOSTS",
      help: "Hosts of the ranks. Default: this host, once for each rank",
    },
    {
      names: ["property"],
      short: "p",
      argument: "NAME[:RANKS]",
      repeatable: true,
      help: "Give RANKS (default: all) the property NAME. May be given several times",
    },
    { names: ["local"], short: "l", help: "Take cores and GPUs from this machine" },
    { names: ["xml"], short: "f", argument: "FILE", help: "Take cores and GPUs from hwloc XML" },
  ],
  run: async (context) => {
    const { options } = context;
    const children = await childrenOf(context);
    const hosts = await hostsFor(context);
    let set = ResourceSet.of({ ranks: hosts.ranks, hosts: hosts.names, ...children });
    for (const property of options.list("property")) set = withProperty(context, set, property);
    context.out(`${resourceSetText(set)}\n`);
  },
};

/** Cores and GPUs of each rank, from the options. */
async function childrenOf(context: CommandContext): Promise<{ cores: Idset; gpus: Idset }> {
  const { options } = context;
  const file = options.text("xml");
  if ((file !== null || options.has("local")) && (options.text("cores") !== null || options.text("gpus") !== null))
    context.fail("do not specify --cores or --gpus with --local or --xml");
  if (file !== null) {
    const { resourcesFromHwloc } = await import("../../formats/hwloc-xml.ts");
    return resourcesFromHwloc(await fileText(context, file));
  }
  if (options.has("local")) {
    const { namedNode } = await import("../../services/resource/inventory.ts");
    const ports = await context.ports();
    const { cores, gpus } = ports.host;
    return namedNode(ports, false) ?? { cores: Idset.from(cores), gpus: Idset.from(gpus) };
  }
  const gpus = options.text("gpus") ?? "";
  const cores = options.text("cores") || (gpus === "" ? "0" : "");
  const parse = (name: string, text: string): Idset =>
    Idset.tryParse(text) ?? context.fail(`Failed to decode ${name}='${text}' as idset`);
  return { cores: parse("cores", cores), gpus: parse("gpus", gpus) };
}

async function hostsFor(context: CommandContext): Promise<{ ranks: Idset; names: Hostlist }> {
  const given = context.options.text("hosts");
  const names = given === null ? null : (Hostlist.tryParse(given) ?? context.fail(`invalid hostlist '${given}'`));
  const text = context.options.text("ranks");
  const ranks = text === null ? Idset.upTo(names?.count ?? 1) : Idset.tryParse(text);
  if (ranks === null) return context.fail(`Failed to decode ranks='${text}' as idset`);
  checkRankCount(ranks.count);
  if (names !== null && names.count !== ranks.count)
    context.fail(`hostname count in '${given}' does not match nranks (${ranks.count})`);
  if (names !== null) return { ranks, names };
  const { hostname } = (await context.ports()).host;
  return { ranks, names: Hostlist.from(Array.from({ length: ranks.count }, () => hostname)) };
}

async function fileText(context: CommandContext, path: string): Promise<string> {
  const { disk } = await context.ports();
  try {
    return utf8Decode(disk.readFile(path));
  } catch (error) {
    return context.fail(isFluxError(error, "ENOENT") ? `${path}: No such file or directory` : errorText(error));
  }
}

/** `NAME` or `NAME:RANKS`. */
function withProperty(context: CommandContext, set: ResourceSet, text: string): ResourceSet {
  const fail = (reason: string): never => context.fail(`failed to assign properties: ${reason}`);
  const at = text.indexOf(":");
  const name = at < 0 ? text : text.slice(0, at);
  const illegal = propertyComplaint(name);
  if (illegal !== null) return fail(illegal);
  if (at < 0) return set.withProperty(name, set.ranks);
  const ranks = Idset.tryParse(text.slice(at + 1));
  if (ranks === null) return fail(`invalid idset '${text.slice(at + 1)}' specified for property "${name}"`);
  const unknown = ranks.subtract(set.ranks);
  if (!unknown.isEmpty)
    return fail(`rank${unknown.count > 1 ? "s" : ""} ${unknown.format()} not found in target resource list`);
  return set.withProperty(name, ranks);
}

/** What is wrong with the name of a property; null where nothing is. */
function propertyComplaint(name: string): string | null {
  try {
    checkPropertyName(name);
    return null;
  } catch (error) {
    const illegal = /invalid character '(.)'/.exec(errorText(error))?.[1];
    return illegal === undefined ? errorText(error) : `invalid character '${illegal}' in property "${name}"`;
  }
}

function union(context: CommandContext, sets: readonly ResourceSet[]): ResourceSet {
  try {
    return sets.reduce((all, set) => all.union(set));
  } catch (error) {
    return context.fail(errorText(error));
  }
}

/** A subcommand that turns the sets on standard input into one. */
function combining(
  name: string,
  description: string,
  combine: (sets: readonly ResourceSet[], context: CommandContext) => ResourceSet,
  usage = "",
): Command {
  return {
    name,
    dialect: "getopt",
    summary: description,
    description,
    usage,
    run: async (context) => {
      const sets = await readSets(context);
      context.out(`${resourceSetText(combine(sets, context))}\n`);
    },
  };
}

const append = combining(
  "append",
  "Append multiple R objects on stdin. They must have nothing in common.",
  (sets, context) =>
    sets.reduce((all, set) => {
      if (!all.intersect(set).isEmpty) context.fail(`R objects '${all.dump()}' and '${set.dump()}' overlap`);
      return union(context, [all, set]);
    }),
);

const diff = combining(
  "diff",
  "Take all further R objects on stdin from the first: (R1 - R2) - R3 ...",
  (sets, context) => {
    if (sets.length < 2) context.fail("diff requires at least 2 resource sets");
    return sets.reduce((rest, set) => rest.subtract(set));
  },
);

function ranksOnSameHosts(left: ResourceSet, right: ResourceSet): Idset {
  return Idset.from([...left.ranks].filter((rank) => left.node(rank)?.host === right.node(rank)?.host));
}

const intersect = combining("intersect", "Print what all R objects on stdin have in common.", (sets, context) => {
  if (sets.length < 2) context.fail("intersect requires at least 2 resource sets");
  // What one set says of its nodes need not hold for the other's.
  return sets
    .reduce((common, set) => common.intersect(set.keepRanks(ranksOnSameHosts(common, set))))
    .withoutProperties();
});

const remap = combining("remap", "Join the R objects on stdin and number ranks and cores from 0.", (sets, context) =>
  union(context, sets).remap().withCoresFromZero(),
);

const rerank = combining(
  "rerank",
  "Join the R objects on stdin and number the ranks as HOSTLIST lists their hosts.",
  (sets, context) => {
    const [text] = context.operands;
    if (text === undefined) return context.fail("Must provide a hostlist for re-ranking");
    const hosts = Hostlist.tryParse(text) ?? context.fail(`invalid hostlist '${text}'`);
    const all = union(context, sets);
    if (hosts.count < all.nnodes) context.fail(`Too few hosts specified (expected ${all.nnodes})`);
    if (hosts.count > all.nnodes) context.fail(`Too many hosts specified (expected ${all.nnodes})`);
    try {
      return all.rerank(hosts);
    } catch (error) {
      if (isFluxError(error, "ENOENT")) context.fail("failed to find one or more provided hosts in R");
      throw error;
    }
  },
  "HOSTLIST",
);

const setProperty = combining(
  "set-property",
  "Set properties of the R object on stdin.",
  (sets, context) => context.operands.reduce((set, text) => withProperty(context, set, text), union(context, sets)),
  "PROPERTY:RANKS [PROPERTY:RANKS]...",
);

const decode: Command = {
  name: "decode",
  dialect: "getopt",
  summary: "print a resource set or what is in it",
  usage: "[OPTIONS]...",
  description: "Join the R objects on stdin and print the result, as JSON unless options ask for parts of it.",
  options: [
    { names: ["short"], short: "s", help: "Print R in its short form" },
    { names: ["nodelist"], short: "n", help: "Print the hosts, if any" },
    { names: ["ranks"], short: "r", help: "Print the ranks, if any" },
    { names: ["count"], short: "c", argument: "TYPE", help: "Print how many of TYPE (node, core, gpu) there are" },
    { names: ["include"], short: "i", argument: "RANKS", help: "Include only these ranks" },
    { names: ["exclude"], short: "x", argument: "RANKS", help: "Exclude these ranks" },
    {
      names: ["properties"],
      short: "p",
      argument: "LIST",
      help: "Include only ranks with these properties (^NAME: without)",
    },
  ],
  run: async (context) => {
    const { options } = context;
    const set = selected(context, union(context, await readSets(context)));
    const count = options.text("count");
    if (options.has("short")) context.out(`${set.dump()}\n`);
    if (options.has("nodelist")) context.out(`${set.nodelist.format()}\n`);
    if (options.has("ranks")) context.out(`${set.ranks.format()}\n`);
    if (count !== null) context.out(`${countOf(set, count)}\n`);
    if (count === null && !["short", "nodelist", "ranks"].some((name) => options.has(name)))
      context.out(`${resourceSetText(set)}\n`);
  },
};

/** Other words count nothing: scripts tell kinds of resources apart by that. */
function countOf(set: ResourceSet, type: string): number {
  if (type === "node") return set.nnodes;
  if (type === "core") return set.ncores;
  return type === "gpu" ? set.ngpus : 0;
}

/** The part of a set that the options want. */
function selected(context: CommandContext, set: ResourceSet): ResourceSet {
  const { options } = context;
  const include = options.text("include");
  const exclude = options.text("exclude");
  const properties = options.text("properties");
  let kept = set;
  if (include !== null) {
    const ranks = Idset.tryParse(include) ?? context.fail(`Invalid ranks option: '${include}': Invalid argument`);
    kept = kept.keepRanks(ranks);
  }
  if (exclude !== null) {
    const ranks =
      Idset.tryParse(exclude) ?? context.fail(`Invalid idset in --exclude option: ${exclude}: Invalid argument`);
    kept = kept.removeRanks(ranks);
  }
  if (properties !== null) {
    const names = properties.split(",").filter((name) => name !== "");
    for (const name of names) {
      const illegal = propertyComplaint(name.replace(/^\^/, ""));
      if (illegal !== null) context.fail(`Invalid property constraint: ${illegal}: Invalid argument`);
    }
    kept = kept.keepRanks(matchingRanks(kept, { properties: names }));
  }
  return kept;
}

const verify: Command = {
  name: "verify",
  dialect: "getopt",
  summary: "check that a rank has what is expected of it",
  description:
    "Takes two R objects on stdin: what is expected, and what one rank has. Fails where that rank lacks something; says what it has besides.",
  usage: "",
  run: async (context) => {
    const sets = await readSets(context);
    if (sets.length !== 2) context.fail("verify requires exactly 2 R objects on stdin");
    const [expected, actual] = sets as [ResourceSet, ResourceSet];
    if (actual.nnodes !== 1) context.fail("Verification supported on single rank only");
    const rank = actual.ranks.first!;
    const [wanted, found] = [expected.node(rank), actual.node(rank)!];
    if (wanted === undefined) return context.fail(`rank ${rank} not found in expected ranks`);
    if (wanted.host !== found.host)
      context.fail(`rank ${rank} got hostname '${found.host ?? ""}', expected '${wanted.host ?? ""}'`);
    const name = `rank ${rank} (${found.host ?? ""})`;
    const missing = expected.keepRanks(actual.ranks).subtract(actual);
    if (!missing.isEmpty) context.fail(`${name} missing resources: ${childrenText(missing)}`);
    const extra = actual.subtract(expected);
    if (!extra.isEmpty) context.complain(`${name} has extra resources: ${childrenText(extra)}`);
  },
};

/** The short form of a set of one rank, without the rank. */
function childrenText(set: ResourceSet): string {
  return set.dump().replace(/^[^/]*\//, "");
}

const parseConfig: Command = {
  name: "parse-config",
  dialect: "getopt",
  summary: "make a resource set from a configuration",
  description: "Read config from resource.config array",
  usage: "PATH",
  run: async (context) => {
    const [path] = context.operands;
    if (path === undefined) return context.failUsage();
    context.out(`${resourceSetText(await configuredSet(context, path))}\n`);
  },
};

async function configuredSet(context: CommandContext, path: string): Promise<ResourceSet> {
  const { loadConfigPath } = await import("../../broker/configuration.ts");
  const { resourcesFromConfig } = await import("../../formats/resource-config.ts");
  const { disk } = await context.ports();
  if (disk.info(path) === null) context.fail(`${path}: No such file or directory`);
  const config = attempt(context, "", () => loadConfigPath(disk, path));
  const { resource } = config;
  if (!isJsonObject(resource)) return context.fail("Config file error: resource is missing or no table");
  const { config: entries, path: file, scheduling } = resource;
  if (entries === undefined && file === undefined)
    return context.fail("Config file error: resource.config or resource.path must be defined");
  const textOf = (name: string, value: JsonValue | undefined): string =>
    typeof value === "string"
      ? utf8Decode(disk.readFile(value))
      : context.fail(`Config file error: resource.${name} must be a string`);
  let set =
    entries === undefined
      ? attempt(context, `${String(file)}: `, () => ResourceSet.parse(jsonOf(textOf("path", file))))
      : attempt(context, "Config file error: ", () => resourcesFromConfig(entries));
  if (scheduling !== undefined) {
    const opaque = attempt(context, `resource.scheduling: ${String(scheduling)}: `, () =>
      jsonOf(textOf("scheduling", scheduling)),
    );
    set = set.with({ scheduling: opaque });
  }
  return set;
}

function attempt<T>(context: CommandContext, before: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof FluxError) return context.fail(`${before}${errorText(error)}`);
    throw error;
  }
}

export const command: Command = defineCommand({
  name: "R",
  dialect: "getopt",
  summary: "read, generate and process resource sets",
  description: "Read, generate, and process RFC 20 Resource Set objects.",
  listsUsages: true,
  subcommands: [encode, append, diff, intersect, remap, rerank, decode, verify, setProperty, parseConfig],
});
