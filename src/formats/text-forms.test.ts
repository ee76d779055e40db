import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFluxError } from "../base/errors.ts";
import { parseDirectives } from "./directives.ts";
import { jobTagLookup, mustacheTags, renderMustache, templateScope } from "./mustache.ts";
import { globExpression } from "./glob.ts";
import { applyRlimitRules, RLIM_INFINITY } from "./rlimit.ts";
import { splitShellWords } from "./shell-words.ts";
import { mergeConfig, parseToml } from "./toml.ts";

test("mustache tags of flux-submit(1)", () => {
  const lookup = jobTagLookup({
    id: 6731191091817518,
    name: "app",
    nnodes: 2,
    ntasks: 8,
    tmpdir: "/tmp/job",
    node: { id: 1, name: "host1", broker_rank: 5, cores: "0-3", gpus: "", ncores: 4 },
    task: { rank: 7, index: 3 },
  });
  const table: [string, string][] = [
    ["plain", "plain"],
    ["out.{{id}}", "out.ƒuZZybuNNy"],
    ["{{jobid.dec}}/{{id.hex}}", "6731191091817518/0x17e9fb8df16c2e"],
    ["{{id.dothex}} {{id.f58plain}}", "0017.e9fb.8df1.6c2e fuZZybuNNy"],
    ["{{ name }}-{{nnodes}}-{{size}}-{{ntasks}}", "app-2-8-8"],
    ["{{node.id}} {{node.name}} {{node.broker_rank}}", "1 host1 5"],
    ["{{node.cores}} [{{node.gpus}}] {{node.ncores}}", "0-3 [] 4"],
    ["{{task.id}} {{task.rank}} {{taskid}}", "7 7 7"],
    ["{{task.index}} {{task.localid}}", "3 3"],
    ["{{tmpdir}}/x", "/tmp/job/x"],
    ["{{unknown}} {{id.foo}} {{node.x}} {{node.toString}}", "{{unknown}} {{id.foo}} {{node.x}} {{node.toString}}"],
    ["{{id", "{{id"],
    ["{ {id}} }}", "{ {id}} }}"],
    ["{{{name}}}", "{app}"],
  ];
  for (const [template, expected] of table) assert.equal(renderMustache(template, lookup), expected, template);
  const unknown: string[] = [];
  renderMustache("{{a}}{{name}}{{b}}", lookup, (tag) => unknown.push(tag));
  assert.deepEqual(unknown, ["a", "b"]);
  assert.equal(renderMustache("{{id}}{{taskid}}", jobTagLookup({})), "{{id}}{{taskid}}");
});

test("a file name with tags of a task or node is a file for each of them", () => {
  assert.equal(templateScope("out.{{id}}"), "job");
  assert.equal(templateScope("out.{{node.name}}"), "node");
  assert.equal(templateScope("out.{{node.name}}.{{taskid}}"), "task");
  assert.deepEqual(mustacheTags("{{id}} {{ task.id }}"), ["id", "task.id"]);
});

test("shell words", () => {
  const table: [string, string[]][] = [
    ["", []],
    ["  a  b\tc\n", ["a", "b", "c"]],
    [`'a b' "c d"`, ["a b", "c d"]],
    [`a'b'"c"\\ d`, ["abc d"]],
    [`"a\\"b\\n" 'a\\b'`, ['a"b\\n', "a\\b"]],
    [`'' ""`, ["", ""]],
    ["a #b", ["a", "#b"]],
  ];
  for (const [text, words] of table) assert.deepEqual(splitShellWords(text), words, text);
  assert.deepEqual(splitShellWords("a#b #c d\ne", { comments: true }), ["a", "e"]);
  assert.deepEqual(splitShellWords("'a#b' \\#c", { comments: true }), ["a#b", "#c"]);
  assert.throws(() => splitShellWords("'a"), /No closing quotation/);
  assert.throws(() => splitShellWords('"a\\"'), /No closing quotation/);
  assert.throws(() => splitShellWords("a\\"), /No escaped character/);
  fc.assert(
    fc.property(fc.array(fc.string({ unit: "binary" }).filter((word) => !word.includes("\0"))), (words) => {
      const quoted = words.map((word) => `'${word.replaceAll("'", `'"'"'`)}'`);
      assert.deepEqual(splitShellWords(quoted.join(" ")), words);
    }),
  );
});

test("RFC 36 examples", () => {
  const table: [string, string[]][] = [
    [
      "#!/bin/sh\n#FLUX: -N4      # Request four nodes\n#FLUX: --queue=batch\n#FLUX: --job-name=app001\nflux run -N4 app\n",
      ["-N4", "--queue=batch", "--job-name=app001"],
    ],
    [
      `#!/usr/bin/env python3
def main():
    """
    flux: -N4
    flux: --queue=batch
    flux: --job-name="my python job"

    # Set some arbitrary user data:
    flux: --setattr=user.data='''
    flux: x, y, z
    flux: a, b, c
    flux: '''
    """
    run()
`,
      ["-N4", "--queue=batch", "--job-name=my python job", "--setattr=user.data=x, y, z\na, b, c\n"],
    ],
    [
      "#!/usr/bin/lua\n--\n-- flux: -N1 --exclusive\n-- flux: --output=job.out\nlocal app = require 'app'\napp.run()\n",
      ["-N1", "--exclusive", "--output=job.out"],
    ],
    [
      "#!/bin/sh\n# Set flux directives\n#FLUX: -N1\n# Set job name:\n#FLUX: --job-name=test\nhostname; date\n",
      ["-N1", "--job-name=test"],
    ],
    [
      '#!/usr/bin/env python3\n"""\nflux: --nodes=4\n\nSet an arbitrary value in jobspec:\nflux: --setattr=user.foo="hello, earth"\n"""\n',
      ["--nodes=4", "--setattr=user.foo=hello, earth"],
    ],
    [`# flux: --setattr=user.data='{"option": "arg"}'`, ['--setattr=user.data={"option": "arg"}']],
    [`# flux: --job-name='''It's a "job"'''`, [`--job-name=It's a "job"`]],
    [`# flux: --setattr=user.foo="""{"key": 42}"""`, ['--setattr=user.foo={"key": 42}']],
    [
      '# flux: --setattr=user.conf="""\n# flux: [config]\n# flux:   item = "foo"\n# flux: """\n',
      ['--setattr=user.conf=[config]\n  item = "foo"\n'],
    ],
    ["# flux: -n1 --x='''\n# flux:  a\n# flux:    b\n# flux:  '''\n", ["-n1", "--x= a\n   b\n "]],
    ["# flux: -N4 # -c2 : comment out for now", ["-N4"]],
    ["# flux: -N4\n#\n\n# flux: -c2", ["-N4", "-c2"]],
    ["#!/bin/sh\necho flux: no directive\n", []],
  ];
  const words = (script: string) => parseDirectives(script).flatMap(({ args }) => args);
  for (const [script, args] of table) assert.deepEqual(words(script), args, script);
});

test("RFC 36: errors name the line", () => {
  const table: [string, RegExp][] = [
    [
      "#!/bin/sh\n#FLUX: -N1\nhostname; date\n#FLUX: --job-name=test\n",
      /^line 4: orphan 'FLUX:' detected: directives disabled after line 2/,
    ],
    ["# flux: -N4\n# flux: -c2\necho hello, world\n# flux: --queue=batch", /^line 4: orphan/],
    ['#!/bin/sh\n# flux: --job-name=" name\ndate', /^line 2: --job-name=" name: No closing quotation/],
    ['# flux: --conf="""\n# flux: x\ndate\n', /^line 3: unterminated multi-line quote at line 1: `"""'/],
    ['# flux: --conf="""\n# flux: x', /^line 2: unterminated multi-line quote at line 1: `"""'/],
    ["# flux: -N1\n#flux: -c2\n", /^line 2: sentinel changed from '# flux:' to '#flux:'/],
    ["# flux: foo\n", /^line 1: Unknown directive: foo/],
  ];
  for (const [script, reason] of table) {
    assert.throws(
      () => parseDirectives(script),
      (error) => isFluxError(error, "EINVAL") && reason.test((error as Error).message),
      script,
    );
  }
  assert.deepEqual(parseDirectives("#!/bin/sh\n# flux: -n1\n# flux: -c2\n"), [
    { line: 2, args: ["-n1"] },
    { line: 3, args: ["-c2"] },
  ]);
});

test("TOML becomes plain JSON values", () => {
  const config = parseToml(`
[resource]
path = "R"
norestrict = true
[[resource.config]]
hosts = "foo[0-2]"
cores = "0-1"
[limits]
small = 42
large = 9223372036854775807
ratio = 0.5
when = 2024-01-02T03:04:05Z
`);
  assert.deepEqual(config, {
    resource: { path: "R", norestrict: true, config: [{ hosts: "foo[0-2]", cores: "0-1" }] },
    limits: { small: 42, large: 9223372036854775807n, ratio: 0.5, when: "2024-01-02T03:04:05.000Z" },
  });
});

test("a TOML error names the file, the line and the reason", () => {
  assert.throws(
    () => parseToml("[a]\nb = \n", "conf/a.toml"),
    (error) => isFluxError(error, "EINVAL") && /^conf\/a\.toml:2: .+$/.test((error as Error).message),
  );
  assert.throws(() => parseToml("a = 1\na = 2\n"), /^FluxError: line 2: /);
  assert.throws(() => parseToml("[x]\na = inf\n", "f"), /f: x\.a: Infinity/);
});

test("several files are merged: tables key by key, other values by the last file", () => {
  const merged = mergeConfig([
    parseToml("[tbon]\ntopo = 'kary:2'\n[queues.batch]\na = 1\n"),
    parseToml("[tbon]\ntorpid_max = '5m'\n[queues.debug]\n"),
    parseToml("tbon.topo = 'kary:4'\n[access]\n"),
  ]);
  assert.deepEqual(merged, {
    tbon: { topo: "kary:4", torpid_max: "5m" },
    queues: { batch: { a: 1 }, debug: {} },
    access: {},
  });
  assert.deepEqual(mergeConfig([]), {});
});

test("--rlimit rules of flux-submit(1)", () => {
  const current = { core: 0, nofile: 1024, stack: RLIM_INFINITY, memlock: 65536, nice: 0 };
  const table: [string[], Record<string, number>][] = [
    [[], { stack: -1, core: 0, nofile: 1024 }],
    [["-*"], {}],
    [["-*", "core"], { core: 0 }],
    [["-*,core"], { core: 0 }],
    [["memlock"], { stack: -1, core: 0, nofile: 1024, memlock: 65536 }],
    [["-*", "ofile"], { ofile: 1024 }],
    [["core=16"], { stack: -1, core: 16, nofile: 1024 }],
    [["-*", "core=unlimited"], { core: -1 }],
    [["-*", "n*"], { nofile: 1024, nice: 0 }],
    [["-[sn]*"], { core: 0 }],
    [["-*", "RLIMIT_CORE"], { core: 0 }],
  ];
  for (const [rules, limits] of table) assert.deepEqual(applyRlimitRules(rules, current), limits, rules.join(" "));
  assert.throws(() => applyRlimitRules(["frobnitz"], current), /No corresponding rlimit matching "frobnitz"/);
  assert.throws(() => applyRlimitRules(["core=invalid"], current), /Invalid value in core=invalid/);
});

test("shell patterns", () => {
  const table: [string, string, boolean][] = [
    ["FOO_*", "FOO_ONE", true],
    ["FOO_*", "XFOO_", false],
    ["a?c", "abc", true],
    ["a.c", "abc", false],
    ["[!a]b", "ab", false],
    ["[!a]b", "cb", true],
    ["a[", "a[", true],
    ["*", "", true],
  ];
  for (const [pattern, text, matches] of table) assert.equal(globExpression(pattern).test(text), matches, pattern);
});
