/**
 * What the arguments and operands of commands are: some words, something that the shell knows (files), or something that an
 * instance knows (jobs, keys). The first rule counts that matches where the argument stands:
 *
 *     resource drain --states STATE,...      an option's argument, as help names it
 *     job wait-event 1 event                 the second operand, as help names it; a getopt command's usage names none
 *
 * Pure.
 */
import { SIGNALS } from "../../base/signals.ts";
import { RLIMITS } from "../../formats/rlimit.ts";

/** What completes a word besides words that are known here. */
export type Source =
  | "files"
  | "directories"
  | "commands"
  | "jobs"
  | "known-jobs"
  | "job-names"
  | "queues"
  | "modules"
  | "attributes"
  | "attribute-settings"
  | "config-keys"
  | "cron-ids"
  | "keys"
  | "namespaces"
  | "archives"
  | "hosts"
  | "ranks"
  | "plugins"
  | "properties"
  | "formats"
  | "environment"
  | "users"
  | "none";

type Meaning = Source | readonly string[];

const words = (text: string): readonly string[] => text.split(" ");

const STATES = words("pending running active inactive depend priority sched run cleanup");
const ACTIVE_STATES = words("pending running active depend priority sched run");
const RESULTS = words("completed failed canceled timeout");
/** Events of a job (RFC 21) that people wait for. */
const EVENTS = words("submit validate depend priority alloc start finish release free clean exception memo");
const SIGNAL_NAMES = Object.keys(SIGNALS);
const SHELL_OPTIONS = words(
  "verbose= initrc= userrc= nosetpgrp stop-tasks-in-exec oom.adjust= rlimit exit-timeout= exit-on-error signal= " +
    "signal.signum= signal.timeleft= cpu-affinity= gpu-affinity= pty pty.ranks= pty.capture pty.interactive " +
    "output.stdout.type= output.stderr.type= output.stdout.path= output.stderr.path= output.limit= output.mode= " +
    "output.stdout.buffer.type= output.stderr.buffer.type= input.stdin.type= input.limit= taskmap= pmi= " +
    "pmi-simple.nomap pmi-simple.exchange.k= stage-in stage-in.names= stage-in.pattern= stage-in.destination= " +
    "hwloc.xmlfile hwloc.restrict sysmon sysmon.period= coprocess-kill-timeout= rexec-shutdown-timeout=",
);

type Rules = readonly (readonly [RegExp, Meaning])[];

const OF_OPTIONS: Rules = [
  [/^(job|kvs) .*--format |^resource eventlog --format /, words("text json")],
  [/ --queue /, "queues"],
  [/ --format FORMAT$/, "formats"],
  [/ --(filter|states) STATE(\|RESULT|S)/, [...STATES, ...RESULTS]],
  [/ --states STATES$/, ACTIVE_STATES],
  [/^resource status --states /, words("online offline up down avail exclude drain drained draining torpid all")],
  [/^resource \w+ --states /, words("free allocated up down all")],
  [/ --urgency /, words("hold default expedite")],
  [/ --flags /, words("debug waitable novalidate")],
  [/ --dependency /, words("afterany: afterok: afternotok: afterexcept: afterstart: any: singleton begin-time:")],
  [/ --taskmap /, words("block cyclic cyclic: manual:")],
  [/ --requires /, "properties"],
  [/ --rlimit /, Object.keys(RLIMITS)],
  [/ --env RULE$/, "environment"],
  [/ --env-remove /, "environment"],
  [/ --setopt /, SHELL_OPTIONS],
  [/ --setattr ATTR$/, words("system. user.")],
  [/ --setattr ATTR=VAL$/, "attribute-settings"],
  [/ --name JOB-NAME$/, "job-names"],
  [
    /^jobs --sort /,
    words("id userid urgency priority state name queue ntasks nnodes t_submit t_run t_inactive runtime"),
  ],
  [
    /^(job wait-event|submit|run|bulksubmit|job attach) --wait-event /,
    [...EVENTS, "exec.shell.init", "exec.shell.start"],
  ],
  [/ --color /, words("always never auto")],
  [/ --time-format /, words("raw iso offset human")],
  [/ --signal SIG(NUM)?$/, SIGNAL_NAMES],
  [/ --signal \[SIG\]/, SIGNAL_NAMES],
  [/ --user /, "users"],
  [/ --fail-on /, words("any none")],
  [/ --(targets|include|hosts|highlight) /, "hosts"],
  [/ --(rank|ranks|nodeid|stdin-ranks|exclude) /, "ranks"],
  [/^(archive|filemap) .*--name /, "archives"],
  [/^kvs .*--(namespace|src-namespace|dst-namespace) /, "namespaces"],
  [/^events --type /, words("job queue resource")],
  [/^job raise --type /, words("cancel timeout exec")],
  [/ --jobid /, "jobs"],
  [/^job-\w+ --plugins /, "none"],
];

const OF_OPERANDS: Rules = [
  [
    /^alloc 0 |^(submit|run|bulksubmit|env|start|broker|exec|admin cleanup-push|terminus start|cron \w+) 0 .*(command|COMMAND|initial-program)/,
    "commands",
  ],
  [/^proxy 0 /, "jobs"],
  [/^proxy 1 /, "commands"],
  [/^(uri|top|shutdown) 0 /, "jobs"],
  [/^pgrep|^pkill/, "job-names"],
  [/^update [1-9]/, words("duration= queue= name= attributes.system.")],
  [/^job wait-event 1 /, EVENTS],
  [/^job urgency 1 /, words("hold default expedite")],
  [/^job info 1 /, words("J R jobspec eventlog guest.exec.eventlog guest.input guest.output")],
  [/^job (raiseall|killall|stats|purge|last|memo [1-9]|raise [1-9])/, "none"],
  [/^job (info|status|explain|eventlog|attach|wait-event|hostpids|taskmap|id) /, "known-jobs"],
  [/^job \S+ \d /, "jobs"],
  [/^(jobs|watch) \d /, "known-jobs"],
  [/^(kvs eventlog wait-event) 1 /, EVENTS],
  [/^kvs namespace remove /, "namespaces"],
  [/^kvs (get|put|dir|ls|unlink|link|readlink|mkdir|copy|move|eventlog \S+) /, "keys"],
  [/^(getattr|setattr) 0 /, "attributes"],
  [/^config (get|set|unset) 0 /, "config-keys"],
  [/^cron (stop|start|dump|delete) /, "cron-ids"],
  [/^module (remove|stats|debug|trace) |^modprobe (remove|show|list-dependencies) /, "modules"],
  [/^jobtap (remove|query) /, "plugins"],
  [/^post-job-event 0 /, "jobs"],
  [/^resource (drain|undrain) 0 /, "hosts"],
  [/^overlay (lookup|disconnect) /, "hosts"],
  [/^ping 0 /, [...words("kvs content job-manager job-list resource broker"), "0", "all"]],
  [
    /^(config load|module load|jobtap load|modprobe run|resource reload|archive create|cron tab|job submit|R \S+) 0 /,
    "files",
  ],
  [/^(keygen|batch|multi-prog|restore|dump|python|relay|module-node-exec|shell-initrc) 0 /, "files"],
  [/^(archive create|filemap map|python|module load|module reload) /, "files"],
];

/** Whatever the command. */
const BY_NAME: Rules = [
  [/ (FILE|FILENAME|PATH|\[NAME=\]PATH|INFILE|OUTFILE|SCRIPT|CONFIG)$/, "files"],
  [/ (DIR|DIRECTORY)$/, "directories"],
  [/ QUEUE/, "queues"],
  [/ JOBID/, "jobs"],
  [/ MODULE$/, "modules"],
];

/** Words that stand in the argument's name itself: `auto|always|never`, `{fun,facts}`. */
function namedChoices(name: string): readonly string[] | null {
  if (/^\{[a-z,]+\}$/.test(name)) return name.slice(1, -1).split(",");
  if (!name.includes("|")) return null;
  const choices = name.replace(/[[\]]/g, "").split("|");
  return choices.some((word) => /^[a-z]/.test(word)) ? choices.filter((word) => /^[a-z]/.test(word)) : null;
}

/** What an option's argument may be. */
export function meaningOfArgument(place: string): Meaning {
  return namedChoices(place.slice(place.lastIndexOf(" ") + 1)) ?? meaningBy([...OF_OPTIONS, ...BY_NAME], place);
}

/** What an operand may be. */
export function meaningOfOperand(place: string): Meaning {
  return meaningBy([...OF_OPERANDS, ...BY_NAME], place);
}

function meaningBy(rules: Rules, place: string): Meaning {
  return rules.find(([rule]) => rule.test(place))?.[1] ?? "none";
}
