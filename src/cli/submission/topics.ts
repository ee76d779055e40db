/** What `flux submit --help=TOPIC` and `flux help submit` tell beyond the options, by topic. */

const SIZE = `A job has tasks, and slots for them. Either say what each task needs:
  -n4 -c2 -g1       four tasks with two cores and a GPU each
  -N2 -n4           the same number of tasks on each of two nodes
  -N2               two whole nodes with a task each (exclusive, as with -x)
or what the job shall have, and how the tasks follow from that:
  --cores=16 --tasks-per-core=2
  -N4 --tasks-per-node=8 --gpus-per-node=2
or all of it as a shape (RFC 46), with a task in each slot:
  --resources-shape='node=2/slot=4/[core=2;gpu]'
The two forms do not go together. flux batch and flux alloc count slots (-n, -c, -g) in the same way; in the new
instance one broker runs on each node.
`;

const DEPENDENCIES = `A job waits until all of its dependencies hold; one that cannot hold any more ends the job with an exception.
  afterany:JOB       JOB has ended, however
  afterok:JOB        JOB has succeeded
  afternotok:JOB     JOB has run and failed
  afterexcept:JOB    JOB has run and an exception ended it, as a time limit
  afterstart:JOB     JOB has started
  singleton          no other active job of the user has the same --job-name
  begin-time:SECONDS a time since the epoch; --begin-time takes dates
JOB is a job id, or
  @NAME              all active jobs of that name, else the last one that ended
  @@NAME             the same, or one that is submitted later
Several options must all hold. Of several alternatives, one is enough:
  --dependency='any:afterok:JOB|afternotok:@NAME'
A chain of jobs that would wait for itself is refused.
`;

const ENVIRONMENT = `A job has the environment of the command that submits it, changed by rules in the order of the command line:
  --env=-PATTERN    removes variables, as does --env-remove=PATTERN
  --env=PATTERN     brings back what was removed
  --env=NAME=VALUE  sets; $NAME and \${NAME} are replaced, $$ is a dollar sign
  --env=^FILE       reads rules from a file, one a line, as does --env-file=FILE
A PATTERN has *, ? and [...]; after a slash it is a regular expression: /^OMP_/. Values may have templates: {{tmpdir}}.
In a job: FLUX_JOB_ID, FLUX_JOB_SIZE (tasks), FLUX_JOB_NNODES, FLUX_JOB_TMPDIR, FLUX_TASK_RANK, FLUX_TASK_LOCAL_ID,
FLUX_URI (its instance), FLUX_JOB_CC (with --cc).
`;

const TEMPLATES = `In commands, --output, --error, --input, --dump and --env, the job replaces
  {{id}}, {{jobid}}         its id, as {{id.f58}}; also {{id.dec}}, {{id.hex}},
                            {{id.dothex}}, {{id.words}}
  {{name}}                  its name
  {{size}}, {{nnodes}}      numbers of tasks and nodes
  {{taskid}}                rank of the task in the job
  {{task.index}}            rank of the task on its node
  {{node.id}}               number of the node in the job; also {{node.name}},
                            {{node.cores}}, {{node.gpus}}, {{node.ncores}}
  {{tmpdir}}                the job's directory for temporary files
A file whose name has something of a task or node is one for each of them.
`;

const STREAMS = `Output goes to the key-value store, where flux job attach, flux watch and flux run find it; that of flux batch
to flux-{{id}}.out.
  --output=FILE      a file instead, opened by the job where it runs
  --error=FILE       another for standard error, which else goes with output
  --output=kvs       the store, also for flux batch
  --input=FILE       standard input; flux run passes its own on
  --input=RANKS      flux run: only these tasks get it: all, or 0,2-3
  -l, --label-io     each line begins with the task's rank
  -u, --unbuffered   what tasks write is passed on at once
`;

const CONSTRAINTS = `--requires selects nodes: terms, joined by and (&, or only a blank), or (|), not, and parentheses.
  a,b                  has the properties a and b
  ^a, -a, not a        has not the property a
  host:node[1-4]       is one of these hosts
  rank:0-3             is one of these brokers
  '(gpu and big) or host:fat1'
`;

const LIMITS = `  -t, --time-limit    minutes, or a duration with its unit: 90s, 1.5h, 2d
  --signal=SIG@TIME   a signal (SIGUSR1) so long (60s) before the time limit
  --urgency           0 holds the job, 31 expedites it, 16 is as usual
  --begin-time        +DURATION, or a date: 2031-06-21 8am, tomorrow noon,
                      in 2 hours, next friday 9am
  --rlimit=RULE       limits of processes: -PATTERN keeps them from the job,
                      NAME=VALUE sets one, PATTERN passes them on; by default
                      all but memlock, ofile, msgqueue, nice, rtprio, rttime
                      and sigpending are passed on
`;

const MANY = `  --cc=IDSET           a job for each id, which it finds in FLUX_JOB_CC;
                       {cc} is replaced in options and command
  --bcc=IDSET          the same, but all jobs are alike
  --wait, --watch      waits for the jobs; shows their output
  --wait-event=NAME    waits for an event of each job: alloc, start, finish;
                       exec.NAME is one of its execution
  --progress, --jps    shows a bar on the terminal, with jobs per second
  --log=FILE           job ids and messages go to files, which may have {cc}
  --log-stderr=FILE    in their names
flux bulksubmit makes a job of each line of standard input, or of the words after :::
  {} {0} {1}           the inputs
  {seq} {seq1}         their number, from 0 or 1
  {.%} {./} {./%}      the input without its extension, its base name, both
  {.//}                its directory; {1.//} is that of the second input
  ::: a b ::: 1 2      all combinations
  ::: a b :::+ 1 2     one by one
  :::: FILE            lines of a file; - is standard input
  --define=NAME=CODE   {.NAME} is an expression of x in the syntax of Python:
                       --define=pow='2**int(x)'
`;

const DIRECTIVES = `Options of flux batch may stand in the script, in lines at its beginning:
  #!/bin/sh
  # flux: -N4 -n16
  # flux: --time-limit=2h
  # flux: --conf="""
  # flux: [resource]
  # flux: noverify = true
  # flux: """
All begin alike ("# flux:"; "#FLUX:" and others are possible), and stand before the first line of the program; later
ones are an error. The command line overrides them. # after the sentinel begins a comment.
`;

const EXIT_STATUS = `flux run, and flux submit with --wait or --watch, exit with the largest exit code of the tasks: 128 + the number of the
signal that ended one, 127 where its program was not found, 1 where an exception ended the job before it ran. 2 is a
command line that cannot be read.
`;

export const SUBMISSION_TOPICS: Readonly<Record<string, string>> = {
  size: SIZE,
  dependencies: DEPENDENCIES,
  environment: ENVIRONMENT,
  templates: TEMPLATES,
  streams: STREAMS,
  constraints: CONSTRAINTS,
  limits: LIMITS,
  many: MANY,
  directives: DIRECTIVES,
  "exit-status": EXIT_STATUS,
};
