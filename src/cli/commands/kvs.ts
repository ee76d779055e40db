/**
 * `flux kvs`: the key-value store from the command line (flux-kvs(1)).
 *
 * Here is what the subcommands take; each is carried out by a file of `kvs/`, loaded when it runs.
 */
import { defineCommand, type Command, type CommandContext, type OptionSpec } from "../framework/command.ts";

type Run = (context: CommandContext) => Promise<number | void>;

/** A subcommand, carried out by a function that is loaded first. */
function sub(
  name: string,
  summary: string,
  usage: string,
  options: readonly OptionSpec[],
  load: () => Promise<Run>,
): Command {
  const run = async (context: CommandContext): Promise<number | void> => (await load())(context);
  return defineCommand({ name, summary, usage, options, dialect: "getopt", run });
}

const namespace: OptionSpec = {
  names: ["namespace"],
  short: "N",
  argument: "",
  help: "Specify KVS namespace to use.",
};
const at: OptionSpec = {
  names: ["at"],
  short: "a",
  argument: "",
  help: "Lookup relative to RFC 11 snapshot reference",
};

function rootOptions(what: string): OptionSpec[] {
  return [
    { names: ["treeobj-root"], short: "O", help: `Output resulting RFC11 root containing ${what}` },
    { names: ["blobref"], short: "b", help: `Output blobref of root containing ${what}` },
    { names: ["sequence"], short: "s", help: `Output root sequence of root containing ${what}` },
  ];
}

const get = sub(
  "get",
  "Get value stored under key",
  "[-N ns] [-r|-t] [-a treeobj] [-l] [-W] [-w] [-u] [-A] [-f] [-S] [-c COUNT] key [key...]",
  [
    namespace,
    { names: ["raw"], short: "r", help: "Interpret value(s) as raw data" },
    { names: ["treeobj"], short: "t", help: "Show RFC 11 object" },
    at,
    { names: ["label"], short: "l", help: "Print key= before value" },
    { names: ["waitcreate"], short: "W", help: "Wait for creation to occur on watch" },
    { names: ["watch"], short: "w", help: "Monitor key writes" },
    { names: ["uniq"], short: "u", help: "Only monitor key writes if values have changed" },
    { names: ["append"], short: "A", help: "Only monitor key appends" },
    { names: ["full"], short: "f", help: "Monitor key changes with more complete accuracy" },
    { names: ["count"], short: "c", argument: "COUNT", integer: true, help: "Display at most COUNT changes" },
    { names: ["stream"], short: "S", help: "Return potentially large values in multiple responses." },
  ],
  async () => (await import("./kvs/get.ts")).get,
);

const put = sub(
  "put",
  "Store value under key",
  "[-N ns] [-O|-b|-s] [-r|-t] [-n] [-A] [-S] key=value [key=value...]",
  [
    namespace,
    ...rootOptions("puts"),
    { names: ["raw"], short: "r", help: "Store value(s) as-is without adding NULL termination" },
    { names: ["treeobj"], short: "t", help: "Store RFC 11 object" },
    { names: ["no-merge"], short: "n", help: "Set the NO_MERGE flag to ensure commit is standalone" },
    { names: ["append"], short: "A", help: "Append value(s) to key instead of overwriting" },
    { names: ["sync"], short: "S", help: "Flushes content and checkpoints after completing put" },
  ],
  async () => (await import("./kvs/put.ts")).put,
);

const width: OptionSpec = {
  names: ["width"],
  short: "w",
  argument: "",
  integer: true,
  help: "Set output width to COLS.  0 means no limit",
};

const dir = sub(
  "dir",
  "Display all keys under directory",
  "[-N ns] [-R] [-d] [-w COLS] [-a treeobj] [key]",
  [
    namespace,
    { names: ["recursive"], short: "R", help: "Recursively display keys under subdirectories" },
    { names: ["directory"], short: "d", help: "List directory entries and not values" },
    width,
    at,
  ],
  async () => (await import("./kvs/dir.ts")).dir,
);

const ls = sub(
  "ls",
  "List directory",
  "[-N ns] [-R] [-d] [-F] [-w COLS] [-1] [key...]",
  [
    namespace,
    { names: ["recursive"], short: "R", help: "List directory recursively" },
    { names: ["directory"], short: "d", help: "List directory instead of contents" },
    width,
    { names: ["1"], short: "1", help: "Force one entry per line" },
    { names: ["classify"], short: "F", help: "Append indicator (one of .@) to entries" },
  ],
  async () => (await import("./kvs/ls.ts")).ls,
);

const unlink = sub(
  "unlink",
  "Remove key",
  "[-N ns] [-O|-b|-s] [-R] [-f] key [key...]",
  [
    namespace,
    ...rootOptions("unlinks"),
    { names: ["recursive"], short: "R", help: "Remove directory contents recursively" },
    { names: ["force"], short: "f", help: "ignore nonexistent files" },
  ],
  async () => (await import("./kvs/write.ts")).unlink,
);

const link = sub(
  "link",
  "Create a new name for target",
  "[-N ns] [-T ns] [-O|-b|-s] target linkname",
  [
    { ...namespace, help: "Specify link's namespace." },
    { names: ["target-namespace"], short: "T", argument: "", help: "Specify target's namespace" },
    ...rootOptions("link"),
  ],
  async () => (await import("./kvs/write.ts")).link,
);

const readlink = sub(
  "readlink",
  "Retrieve the key a link refers to",
  "[-N ns] [-a treeobj] [ -o | -k ] key [key...]",
  [
    namespace,
    at,
    { names: ["namespace-only"], short: "o", help: "Output only namespace if link points to a namespace" },
    { names: ["key-only"], short: "k", help: "Output only key if link points to a namespace" },
  ],
  async () => (await import("./kvs/readlink.ts")).readlink,
);

const mkdir = sub(
  "mkdir",
  "Create a directory",
  "[-N ns] [-O|-b|-s] key [key...]",
  [namespace, ...rootOptions("new directory")],
  async () => (await import("./kvs/write.ts")).mkdir,
);

const copyOptions: OptionSpec[] = [
  { names: ["src-namespace"], short: "S", argument: "", help: "Specify source key's namespace" },
  { names: ["dst-namespace"], short: "D", argument: "", help: "Specify destination key's namespace" },
];
const copy = sub(
  "copy",
  "Copy source key to destination key",
  "[-S src-ns] [-D dst-ns] source destination",
  copyOptions,
  async () => (await import("./kvs/write.ts")).copy,
);
const move = sub(
  "move",
  "Move source key to destination key",
  "[-S src-ns] [-D dst-ns] source destination",
  copyOptions,
  async () => (await import("./kvs/write.ts")).move,
);

const version = sub(
  "version",
  "Display current KVS version",
  "[-N ns]",
  [namespace],
  async () => (await import("./kvs/versions.ts")).version,
);
const wait = sub(
  "wait",
  "Block until the KVS reaches version",
  "[-N ns] version",
  [namespace],
  async () => (await import("./kvs/versions.ts")).wait,
);
const getroot = sub(
  "getroot",
  "Get KVS root treeobj",
  "[-N ns] [-s|-o|-b]",
  [
    namespace,
    { names: ["sequence"], short: "s", help: "Show sequence number" },
    { names: ["owner"], short: "o", help: "Show owner" },
    { names: ["blobref"], short: "b", help: "Show blobref" },
  ],
  async () => (await import("./kvs/versions.ts")).getroot,
);
const sync = sub(
  "sync",
  "sync content and checkpoint to disk",
  "[OPTIONS]...",
  [],
  async () => (await import("./kvs/versions.ts")).sync,
);

const namespaceUsages = {
  create: "[-o owner] [-r rootref] name [name...]",
  remove: "name [name...]",
  list: "",
};
const namespaces = group("namespace", "Perform KVS namespace operations", namespaceUsages, [
  sub(
    "create",
    "Create a KVS namespace",
    namespaceUsages.create,
    [
      { names: ["owner"], short: "o", argument: "", help: "Specify alternate namespace owner via userid" },
      { names: ["rootref"], short: "r", argument: "", help: "Initialize namespace with specific root reference" },
    ],
    async () => (await import("./kvs/namespace.ts")).create,
  ),
  sub(
    "remove",
    "Remove a KVS namespace",
    namespaceUsages.remove,
    [],
    async () => (await import("./kvs/namespace.ts")).remove,
  ),
  sub(
    "list",
    "List namespaces on local rank",
    namespaceUsages.list,
    [],
    async () => (await import("./kvs/namespace.ts")).list,
  ),
]);

const color: OptionSpec = {
  names: ["color"],
  short: "L",
  argument: "WHEN",
  optionalArgument: true,
  help: "Colorize output when supported; WHEN can be 'always' (default if omitted), 'never', or 'auto' (default).",
};
const unformatted: OptionSpec = { names: ["unformatted"], short: "u", help: "Show event in RFC 18 form" };
const human: OptionSpec = { names: ["human"], short: "H", help: "Display human-readable output" };
const eventlogUsages = {
  append: "[-N ns] [-t SECONDS] key name [context ...]",
  get: "[-N ns] [-u] [-W] [-w] [-c COUNT] [-H] [-S]  [-L auto|always|never] key",
  "wait-event": "[-N ns] [-t seconds] [-u] [-W] [-q] [-v] [-L auto|always|never] key event",
};
const eventlog = group("eventlog", "Manipulate a KVS eventlog", eventlogUsages, [
  sub(
    "append",
    "Append to eventlog",
    eventlogUsages.append,
    [
      namespace,
      { names: ["timestamp"], short: "t", argument: "SECONDS", help: "Specify timestamp in seconds since epoch" },
    ],
    async () => (await import("./kvs/eventlog.ts")).append,
  ),
  sub(
    "get",
    "Get eventlog",
    eventlogUsages.get,
    [
      namespace,
      { names: ["waitcreate"], short: "W", help: "Wait for creation to occur on watch" },
      { names: ["watch"], short: "w", help: "Monitor eventlog" },
      { names: ["count"], short: "c", argument: "COUNT", integer: true, help: "Display at most COUNT events" },
      unformatted,
      human,
      color,
      { names: ["stream"], short: "S", help: "Return potentially large values in multiple responses." },
    ],
    async () => (await import("./kvs/eventlog.ts")).get,
  ),
  sub(
    "wait-event",
    "Wait for an event",
    eventlogUsages["wait-event"],
    [
      namespace,
      { names: ["waitcreate"], short: "W", help: "Wait for creation to occur on eventlog" },
      { names: ["timeout"], short: "t", argument: "DURATION", help: "timeout after DURATION" },
      unformatted,
      { names: ["quiet"], short: "q", help: "Do not output matched event" },
      { names: ["verbose"], short: "v", help: "Output all events before matched event" },
      human,
      color,
    ],
    async () => (await import("./kvs/eventlog.ts")).waitEvent,
  ),
]);

/** A subcommand with subcommands of its own, whose usage is the sum of theirs. */
function group(
  name: string,
  summary: string,
  usages: Readonly<Record<string, string>>,
  subcommands: readonly Command[],
): Command {
  const [first, ...others] = Object.entries(usages).map(([word, usage]) => `${word} ${usage}`);
  const usage = [first, ...others.map((each) => `   or: flux-kvs ${name} ${each}`)].join("\n");
  return defineCommand({ name, summary, usage, dialect: "getopt", subcommands });
}

export const command: Command = defineCommand({
  name: "kvs",
  summary: "Flux key-value store utility",
  dialect: "getopt",
  subcommands: [
    namespaces,
    get,
    put,
    dir,
    ls,
    unlink,
    link,
    readlink,
    mkdir,
    copy,
    move,
    version,
    wait,
    getroot,
    sync,
    eventlog,
  ],
});
