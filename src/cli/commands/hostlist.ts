/** `flux hostlist`: gather, combine and print lists of hosts (flux-hostlist(1)). Asks a broker only for sources that need one. */
import { concatBytes, utf8Decode } from "../../base/bytes.ts";
import { FluxError, isFluxError } from "../../base/errors.ts";
import { isJsonObject, type Integer, type JsonObject } from "../../base/json.ts";
import { tryParseFluid } from "../../formats/fluid.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { Idset } from "../../formats/idset.ts";
import { defineCommand, type Command, type CommandContext } from "../framework/command.ts";
import { fetchJob } from "../jobs/listing.ts";
import { instanceHosts } from "../../sdk/attributes.ts";

const SOURCES_HELP = `SOURCES may include:
instance     hosts from the broker 'hostlist' attribute.
jobid        hosts assigned to a job
local        hosts assigned to current job if FLUX_JOB_ID is set, otherwise
             returns the 'instance' hostlist
avail[able]  instance hostlist minus those nodes down or drained
stdin, '-'   read a list of hosts on stdin
hosts        literal list of hosts

The default when no SOURCES are supplied is 'stdin', unless the -l, --local
option is used, in which case the default is 'local'.
`;

/** How long standard input may be silent at first, unless FLUX_HOSTLIST_STDIN_TIMEOUT says otherwise. */
const INPUT_TIMEOUT_DEFAULT_S = 15;

/** Options of which one line may have one only. */
const EXCLUSIVE: readonly (readonly [name: string, shown: string][])[] = [
  [
    ["expand", "-e/--expand"],
    ["count", "-c/--count"],
  ],
  [
    ["intersect", "-i/--intersect"],
    ["minus", "-m/--minus"],
    ["xor", "-X/--xor"],
  ],
];

export const command: Command = defineCommand({
  name: "hostlist",
  dialect: "argparse",
  summary: "fetch, combine, and manipulate hostlists",
  options: [
    { names: ["expand"], short: "e", help: "Expand hostlist using defined output delimiter" },
    {
      names: ["delimiter"],
      short: "d",
      argument: "S",
      help: "Set output delimiter for expanded hostlist (default=' ')",
    },
    { names: ["count"], short: "c", help: "Print the total number of hosts" },
    {
      names: ["nth"],
      short: "n",
      argument: "[-]IDS",
      help: "Output hosts at indices in idset IDS (-IDS to index from end)",
    },
    {
      names: ["find"],
      short: "F",
      argument: "HOSTS",
      help: "Output indices of HOSTS in target in hostlist. Fails if any host is not found.",
    },
    {
      names: ["limit"],
      short: "L",
      argument: "N",
      integer: true,
      help: "Output at most N hosts (-N for the last N hosts)",
    },
    { names: ["sort"], short: "S", help: "Return sorted result" },
    {
      names: ["exclude"],
      short: "x",
      argument: "IDS|HOSTS",
      help: "Exclude all occurrences of HOSTS or indices from final result",
    },
    {
      names: ["union", "unique"],
      short: "u",
      help: "Return only unique hosts in the final hostlist. Without other options, this is the same as the union of all hostlist args (default mode is append).",
    },
    { names: ["intersect"], short: "i", help: "Return the intersection of all hostlists" },
    { names: ["minus"], short: "m", help: "Subtract all hostlist args from first argument" },
    { names: ["xor"], short: "X", help: "Return the symmetric difference of all hostlists" },
    {
      names: ["fallback"],
      short: "f",
      help: "Fallback to treating jobids that are not found as hostnames (for hostnames that are also valid jobids e.g. f1, fuzz100, etc)",
    },
    { names: ["local"], short: "l", help: "Set the default source to 'local' instead of 'stdin'" },
    { names: ["quiet"], short: "q", help: "No output. Exit with nonzero exit status if hostlist is empty" },
  ],
  operands: [{ name: "SOURCES", arity: "*", help: "(optional) One or more hostlist sources" }],
  epilogue: SOURCES_HELP,
  run,
});

async function run(context: CommandContext): Promise<number> {
  const { options, operands } = context;
  refuseTogether(context);
  const excluded = excludedBy(context);
  const sources = operands.length > 0 ? operands : [options.has("local") ? "local" : "stdin"];
  const lists: Hostlist[] = [];
  for (const source of sources) lists.push(await hostsOf(context, source));
  let hosts = excluded(combine(context, lists));
  if (options.has("union")) hosts = hosts.uniq();
  else if (options.has("sort")) hosts = hosts.sort();
  hosts = nth(context, limited(hosts, options.integer("limit") ?? 0));
  const text = resultText(context, hosts);
  if (options.has("quiet")) return hosts.isEmpty ? 1 : 0;
  if (text !== "") context.out(`${text}\n`);
  return 0;
}

function refuseTogether(context: CommandContext): void {
  for (const group of EXCLUSIVE) {
    const given = context.options.given.map(({ name }) => group.find(([each]) => each === name)?.[1]);
    const [first, second] = [...new Set(given.filter((shown) => shown !== undefined))];
    if (second !== undefined) context.failUsage(`argument ${second}: not allowed with argument ${first}`);
  }
}

/** What `--exclude` takes away: every occurrence of hosts, or places in the list. */
function excludedBy(context: CommandContext): (hosts: Hostlist) => Hostlist {
  const text = context.options.text("exclude");
  if (text === null) return (hosts) => hosts;
  const ids = Idset.tryParse(text);
  if (ids !== null) return (hosts) => Hostlist.from(hosts.toArray().filter((_, index) => !ids.has(index)));
  const names = Hostlist.tryParse(text);
  if (names === null) return context.failUsage(`argument -x/--exclude: invalid Hostlist value: '${text}'`);
  return (hosts) => hosts.subtract(names);
}

function combine({ options }: CommandContext, lists: readonly Hostlist[]): Hostlist {
  // One list alone is as it is: only what was combined is sorted and without repetitions.
  const join = (operation: (left: Hostlist, right: Hostlist) => Hostlist): Hostlist => lists.reduce(operation);
  if (options.has("intersect")) return join((left, right) => left.intersect(right).uniq());
  if (options.has("xor")) return join((left, right) => left.xor(right));
  if (options.has("minus")) return join(minus);
  const all = new Hostlist();
  for (const list of lists) all.appendList(list);
  return all;
}

/** Takes away one occurrence for each host of the right list. */
function minus(left: Hostlist, right: Hostlist): Hostlist {
  const counts = new Map<string, number>();
  for (const host of right) counts.set(host, (counts.get(host) ?? 0) + 1);
  const kept = left.toArray().filter((host) => {
    const count = counts.get(host) ?? 0;
    counts.set(host, count - 1);
    return count <= 0;
  });
  return Hostlist.from(kept);
}

/** The first hosts, or the last where the limit is negative; 0 is no limit. */
function limited(hosts: Hostlist, limit: number): Hostlist {
  if (limit === 0) return hosts;
  return Hostlist.from(limit > 0 ? hosts.toArray().slice(0, limit) : hosts.toArray().slice(limit));
}

function nth(context: CommandContext, hosts: Hostlist): Hostlist {
  const text = context.options.text("nth");
  if (text === null) return hosts;
  const fromEnd = text.startsWith("-");
  const ids = parseIds(context, fromEnd ? text.slice(1) : text);
  const places = [...ids].map((id) => (fromEnd ? hosts.count - id : id)).sort((left, right) => left - right);
  return Hostlist.from(
    places.map((place) => (place < 0 ? undefined : hosts.nth(place)) ?? context.fail("Hostlist index out of range")),
  );
}

function parseIds(context: CommandContext, text: string): Idset {
  return Idset.tryParse(text) ?? context.fail(`IDset(): Invalid argument: ${text}`);
}

function resultText(context: CommandContext, hosts: Hostlist): string {
  const { options } = context;
  const wanted = options.text("find");
  if (wanted !== null) return indicesText(context, hosts, wanted);
  if (options.has("count")) return String(hosts.count);
  // Shells pass on a written-out line end as two letters.
  const delimiter = (options.text("delimiter") ?? " ").replaceAll("\\n", "\n");
  return options.has("expand") ? hosts.toArray().join(delimiter) : hosts.format();
}

function indicesText(context: CommandContext, hosts: Hostlist, wanted: string): string {
  const names = Hostlist.tryParse(wanted) ?? context.fail(`Invalid hostlist: '${wanted}'`);
  const indices = names.toArray().map((host) => hosts.find(host));
  const missing = Hostlist.from(names.toArray().filter((_, at) => indices[at]! < 0));
  if (missing.count > 0) context.fail(`host${missing.count > 1 ? "s" : ""} '${missing.format()}' not found`);
  return indices.join(" ");
}

async function hostsOf(context: CommandContext, source: string): Promise<Hostlist> {
  switch (source) {
    case "instance":
      return instanceHosts(await context.open());
    case "avail":
    case "available":
      return availableHosts(context);
    case "stdin":
    case "-":
      return parseHosts(context, utf8Decode(await inputInTime(context)).trim());
    case "local": {
      const job = context.host.env["FLUX_JOB_ID"];
      return job === undefined ? instanceHosts(await context.open()) : jobOrHosts(context, job);
    }
    default:
      return jobOrHosts(context, source);
  }
}

/** All of standard input; ends the command where nothing comes for long: somebody has forgotten that it is read. */
async function inputInTime(context: CommandContext): Promise<Uint8Array> {
  const seconds = inputTimeout(context);
  const chunks = context.inputChunks()[Symbol.asyncIterator]();
  const pieces: Uint8Array[] = [];
  let timer: NodeJS.Timeout | undefined;
  const expiry = new Promise<never>((_, reject) => {
    const late = (): void =>
      reject(
        new FluxError(
          "ETIMEDOUT",
          `timeout after ${Number.isInteger(seconds) ? seconds.toFixed(1) : seconds}s waiting for stdin`,
        ),
      );
    if (seconds > 0) timer = setTimeout(late, seconds * 1000);
  });
  let next = await Promise.race([chunks.next(), expiry]);
  clearTimeout(timer);
  for (; next.done !== true; next = await chunks.next()) pieces.push(next.value);
  return concatBytes(pieces);
}

function inputTimeout(context: CommandContext): number {
  const text = context.host.env["FLUX_HOSTLIST_STDIN_TIMEOUT"] ?? String(INPUT_TIMEOUT_DEFAULT_S);
  const seconds = text.trim() === "" ? Number.NaN : Number(text);
  if (Number.isNaN(seconds)) throw new FluxError("EINVAL", `could not convert string to float: '${text}'`);
  if (seconds < 0) throw new FluxError("EINVAL", "timeout must be non-negative");
  return seconds;
}

function parseHosts(context: CommandContext, text: string): Hostlist {
  return Hostlist.tryParse(text) ?? context.fail(`Invalid jobid or hostlist ${text}`);
}

async function jobOrHosts(context: CommandContext, text: string): Promise<Hostlist> {
  const id = tryParseFluid(text);
  if (id === null) return parseHosts(context, text);
  try {
    return await jobHosts(context, id);
  } catch (error) {
    if (!isFluxError(error, "ENOENT")) throw error;
    if (context.options.has("fallback")) return parseHosts(context, text);
    throw new FluxError("ENOENT", `job ${text} not found`, { cause: error });
  }
}

/** The hosts of a job; none where it has no resources yet. */
async function jobHosts(context: CommandContext, id: Integer): Promise<Hostlist> {
  const job = await fetchJob(await context.open(), id, ["nodelist"]);
  return parseHosts(context, job.text("nodelist"));
}

/** The hosts whose brokers are online and that are not drained. Several brokers may share a host. */
async function availableHosts(context: CommandContext): Promise<Hostlist> {
  const hosts = await instanceHosts(await context.open());
  const handle = await context.open();
  const status = await handle.rpc<JsonObject>("resource.status", null, { nodeid: 0 });
  const online = Idset.parse(String(status["online"] ?? ""));
  const drains = isJsonObject(status["drain"]) ? Object.keys(status["drain"]) : [];
  const drained = drains.reduce((all, ranks) => all.union(Idset.parse(ranks)), new Idset());
  return Hostlist.from(hosts.toArray().filter((_, rank) => online.has(rank) && !drained.has(rank)));
}
