/**
 * The commands of `flux`: where each is implemented, and under which heading the front page lists it.
 *
 * A file `commands/FILE.ts` exports its command as `command`; a file with several exports them by name in `commands`.
 */

export interface Entry {
  /** File name in `commands/`. */
  readonly file: string;
  /** One line for the front page; absent where the page does not list it. */
  readonly summary?: string;
}

export const HEADINGS: readonly { readonly title: string; readonly names: readonly string[] }[] = [
  {
    title: "run and submit jobs, allocate resources",
    names: ["submit", "run", "bulksubmit", "alloc", "batch"],
  },
  {
    title: "list and interact with jobs",
    names: ["jobs", "top", "pstree", "cancel", "pgrep/pkill", "job", "proxy", "watch", "update"],
  },
  {
    title: "get resource, queue and other instance information",
    names: ["resource", "queue", "overlay", "uptime"],
  },
  {
    title: "share data and messages between jobs",
    names: ["kvs", "archive", "event", "ping", "exec"],
  },
  {
    title: "other useful commands",
    names: ["start", "version", "config", "env", "module", "cron", "dmesg", "getattr", "completion"],
  },
];

/** By the word after `flux`. */
export const COMMANDS: Readonly<Record<string, Entry>> = {
  R: { file: "R" },
  admin: { file: "admin" },
  alloc: { file: "alloc", summary: "allocate a new Flux instance for interactive use" },
  archive: { file: "archive", summary: "create/extract KVS file archives" },
  batch: { file: "batch", summary: "submit a batch script to Flux" },
  broker: { file: "broker" },
  bulksubmit: { file: "bulksubmit", summary: "submit jobs in bulk to a Flux instance" },
  cancel: { file: "cancel", summary: "cancel one or more jobs" },
  completion: { file: "completion", summary: "complete flux commands in bash and zsh" },
  config: { file: "config", summary: "manage/query Flux configuration" },
  content: { file: "content" },
  cron: { file: "cron", summary: "schedule tasks on timers and events" },
  dmesg: { file: "dmesg", summary: "manipulate broker log ring buffer" },
  dump: { file: "dump" },
  env: { file: "env", summary: "print the flux environment or execute a command inside it" },
  event: { file: "event", summary: "send and receive Flux events" },
  events: { file: "events", summary: "follow what happens to jobs, queues and resources" },
  exec: { file: "exec", summary: "execute processes across brokers" },
  filemap: { file: "filemap" },
  fsck: { file: "fsck" },
  fortune: { file: "fortune" },
  gc: { file: "gc" },
  getattr: { file: "getattr", summary: "get a broker attribute (also: setattr, lsattr)" },
  help: { file: "help" },
  hostlist: { file: "hostlist", summary: "fetch, combine, and manipulate Flux hostlists" },
  job: { file: "job", summary: "get job status, info, etc (see: flux help job)" },
  housekeeping: { file: "housekeeping" },
  jobtap: { file: "jobtap" },
  "post-job-event": { file: "jobtap" },
  "job-exec-override": { file: "job-exec-override" },
  "job-frobnicator": { file: "job-validator" },
  "job-validator": { file: "job-validator" },
  jobs: { file: "jobs", summary: "list jobs submitted to Flux" },
  keygen: { file: "keygen" },
  kvs: { file: "kvs", summary: "Flux key-value store utility" },
  logger: { file: "logger" },
  lptest: { file: "lptest" },
  lsattr: { file: "lsattr" },
  modprobe: { file: "modprobe" },
  module: { file: "module", summary: "manage broker modules" },
  overlay: { file: "overlay", summary: "Show flux overlay network status" },
  pgrep: { file: "pgrep", summary: "search or cancel matching jobs" },
  pmi: { file: "pmi" },
  ping: { file: "ping", summary: "measure round-trip latency to Flux services" },
  pkill: { file: "pgrep" },
  "multi-prog": { file: "multi-prog" },
  pstree: { file: "pstree", summary: "display job hierarchies" },
  proxy: { file: "proxy", summary: "Create proxy environment for Flux instance" },
  python: { file: "python" },
  queue: { file: "queue", summary: "list and manipulate flux queues" },
  relay: { file: "relay" },
  resource: { file: "resource", summary: "list/manipulate Flux resource status" },
  restore: { file: "restore" },
  run: { file: "run", summary: "run a Flux job interactively" },
  setattr: { file: "setattr" },
  shutdown: { file: "shutdown" },
  "module-node-exec": { file: "module-node-exec" },
  "shell-initrc": { file: "shell-initrc" },
  shell: { file: "shell" },
  "shell-host": { file: "shell-host" },
  "slurm-expiration-sync": { file: "slurm-expiration-sync" },
  sproc: { file: "sproc" },
  start: { file: "start", summary: "bootstrap a local Flux instance" },
  startlog: { file: "startlog" },
  submit: { file: "submit", summary: "submit a job to a Flux instance" },
  terminus: { file: "terminus" },
  top: { file: "top", summary: "display running Flux jobs" },
  update: { file: "update", summary: "update active jobs" },
  uri: { file: "uri" },
  uptime: { file: "uptime", summary: "Tell how long Flux has been up and running" },
  version: { file: "version", summary: "Display flux version information" },
  watch: { file: "watch", summary: "monitor one or more Flux jobs" },
};
