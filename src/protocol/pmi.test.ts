/** PMI-1: our client against transcripts of real launchers, our server against what clients send, and both together. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isFluxError } from "../base/errors.ts";
import { PmiClient } from "./pmi-client.ts";
import { PmiServer, type PmiConnection } from "./pmi-server.ts";

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** A client whose server answers from a transcript: each line sent must be the one expected. */
function clientOf(transcript: readonly (readonly [sent: string, answer: string])[]): PmiClient {
  const left = [...transcript];
  const client: PmiClient = new PmiClient({
    send: (bytes) => {
      const [sent, answer] = left.shift() ?? ["nothing", ""];
      assert.equal(decode(bytes), `${sent}\n`);
      queueMicrotask(() => client.feed(encode(`${answer}\n`)));
    },
  });
  return client;
}

test("the client boots under Slurm's answers", async () => {
  const client = clientOf([
    ["cmd=init pmi_version=1 pmi_subversion=1", "cmd=response_to_init rc=0 pmi_version=1 pmi_subversion=1"],
    ["cmd=get_maxes", "cmd=maxes rc=0 kvsname_max=256 keylen_max=64 vallen_max=1024"],
    ["cmd=get_my_kvsname", "cmd=my_kvsname rc=0 kvsname=8.0"],
    ["cmd=get kvsname=8.0 key=PMI_process_mapping", "cmd=get_result rc=0 value=(vector,(0,1,3),(1,1,1))"],
    ["cmd=get kvsname=8.0 key=no.such.key", "cmd=get_result rc=1"],
    ["cmd=put kvsname=8.0 key=ep.0 value=tcp://127.0.0.1:40000;pk=A+b/c=;x", "cmd=put_result rc=0"],
    ["cmd=barrier_in", "cmd=barrier_out rc=0"],
    ["cmd=get kvsname=8.0 key=ep.3", "cmd=get_result rc=0 value=tcp://127.0.0.1:40003;pk=A+b/c=;x"],
    ["cmd=finalize", "cmd=finalize_ack rc=0"],
  ]);
  await client.initialize();
  assert.equal(client.kvsname, "8.0");
  assert.equal(await client.get("PMI_process_mapping"), "(vector,(0,1,3),(1,1,1))");
  assert.equal(await client.get("no.such.key"), null);
  await client.put("ep.0", "tcp://127.0.0.1:40000;pk=A+b/c=;x");
  await client.barrier();
  assert.equal(await client.get("ep.3"), "tcp://127.0.0.1:40003;pk=A+b/c=;x");
  await client.finalize();
});

test("the client takes Hydra's answers: rc at the end or absent, and an error that has a value", async () => {
  const name = "kvs_20234_0_1910571863_vm";
  const client = clientOf([
    ["cmd=init pmi_version=1 pmi_subversion=1", "cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0"],
    ["cmd=get_maxes", "cmd=maxes kvsname_max=256 keylen_max=64 vallen_max=1024"],
    ["cmd=get_my_kvsname", `cmd=my_kvsname kvsname=${name}`],
    [`cmd=get kvsname=${name} key=no.such.key`, "cmd=get_result rc=-1 msg=key_no.such.key_not_found value=unknown"],
    [`cmd=get kvsname=${name} key=ep.0`, "cmd=get_result rc=0 msg=success value=a=b c"],
    ["cmd=barrier_in", "cmd=barrier_out"],
    ["cmd=finalize", "cmd=finalize_ack"],
  ]);
  await client.initialize();
  assert.equal(await client.get("no.such.key"), null);
  assert.equal(await client.get("ep.0"), "a=b c");
  await client.barrier();
  await client.finalize();
});

test("a launcher that goes away, or speaks another protocol, fails the boot", async () => {
  const lost = new PmiClient({ send: () => queueMicrotask(() => lost.lost()) });
  await assert.rejects(lost.initialize(), (error) => isFluxError(error, "ECONNRESET"));
  const foreign = clientOf([["cmd=init pmi_version=1 pmi_subversion=1", "HTTP/1.1 400 Bad Request"]]);
  await assert.rejects(foreign.initialize(), (error) => isFluxError(error, "EPROTO"));
});

interface Process {
  readonly client: PmiClient;
  readonly lines: string[];
}

/** Processes of one node, their clients joined to a server without delay. */
function together(size: number, options: { abort?: (rank: number, code: number) => void } = {}): Process[] {
  const server = new PmiServer({
    kvsname: "ƒabc",
    universeSize: size,
    localSize: size,
    preset: { PMI_process_mapping: `(vector,(0,1,${size}))` },
    abort: (rank, code) => options.abort?.(rank, code),
  });
  return Array.from({ length: size }, (_, rank) => {
    const lines: string[] = [];
    let connection: PmiConnection | null = null;
    const client: PmiClient = new PmiClient({
      send: (bytes) => {
        lines.push(decode(bytes));
        connection!.feed(bytes);
      },
    });
    connection = server.connect(rank, (bytes) => queueMicrotask(() => client.feed(bytes)));
    return { client, lines };
  });
}

test("what was put is seen by the others after the barrier, not before", async () => {
  const [zero, one] = together(2) as [Process, Process];
  await Promise.all([zero.client.initialize(), one.client.initialize()]);
  await zero.client.put("0", "card");
  assert.equal(await one.client.get("0"), null);
  await Promise.all([zero.client.barrier(), one.client.barrier()]);
  assert.equal(await one.client.get("0"), "card");
  assert.equal(await one.client.get("PMI_process_mapping"), "(vector,(0,1,2))");
});

test("a long value is spread over lines of at most 1000 bytes and read back whole", async () => {
  const [zero, one] = together(2) as [Process, Process];
  await Promise.all([zero.client.initialize(), one.client.initialize()]);
  const value = Array.from({ length: 5000 }, (_, index) => String.fromCharCode(33 + (index % 90))).join("");
  await zero.client.put("card", value);
  await Promise.all([zero.client.barrier(), one.client.barrier()]);
  assert.equal(await one.client.get("card"), value);
  for (const line of zero.lines) assert.ok(line.length <= 1000, `${line.length} bytes`);
});

/** The answers of a server to raw lines of one process. */
function answersTo(lines: readonly string[], size = 1): { answers: string[]; aborts: unknown[] } {
  const answers: string[] = [];
  const aborts: unknown[] = [];
  const server = new PmiServer({
    kvsname: "K",
    universeSize: size,
    localSize: size,
    abort: (...what) => aborts.push(what),
  });
  const connection = server.connect(0, (bytes) => answers.push(decode(bytes).trimEnd()));
  for (const line of lines) connection.feed(encode(`${line}\n`));
  return { answers, aborts };
}

test("the server answers as MPI libraries expect", () => {
  const { answers } = answersTo([
    "cmd=init pmi_version=1 pmi_subversion=1",
    "cmd=init pmi_version=2 pmi_subversion=0",
    "cmd=get_maxes",
    "cmd=get_appnum",
    "cmd=get_universe_size",
    "cmd=get_my_kvsname",
    "cmd=put kvsname=K key=a value=with space and =",
    "cmd=get kvsname=K key=a",
    "cmd=barrier_in",
    "cmd=get kvsname=K key=a",
    "cmd=lookup_name service=x",
    "mcmd=spawn",
    "nprocs=2",
    "endcmd",
    "cmd=finalize",
  ]);
  assert.deepEqual(answers, [
    "cmd=response_to_init rc=0 pmi_version=1 pmi_subversion=1",
    "cmd=response_to_init rc=-1",
    "cmd=maxes rc=0 kvsname_max=64 keylen_max=64 vallen_max=1024",
    "cmd=appnum rc=0 appnum=0",
    "cmd=universe_size rc=0 size=1",
    "cmd=my_kvsname rc=0 kvsname=K",
    "cmd=put_result rc=0",
    "cmd=get_result rc=4",
    "cmd=barrier_out rc=0",
    "cmd=get_result rc=0 value=with space and =",
    "cmd=lookup_result rc=-1 msg=command not implemented",
    "cmd=spawn_result rc=-1",
    "cmd=finalize_ack rc=0",
  ]);
});

test("keys and values that are too long are refused, each with its code", () => {
  const { answers } = answersTo([
    `cmd=put kvsname=${"n".repeat(65)} key=a value=1`,
    `cmd=put kvsname=K key=${"k".repeat(65)} value=1`,
    `cmd=put kvsname=K key=a value=${"v".repeat(1025)}`,
    "cmd=put kvsname=K value=1",
  ]);
  assert.deepEqual(
    answers.map((answer) => answer.replace("cmd=put_result ", "")),
    ["rc=8", "rc=5", "rc=7", "rc=4"],
  );
});

test("abort ends the program, and what follows is not looked at", () => {
  const { aborts, answers } = answersTo(["cmd=abort exitcode=17 error_msg=it is over", "cmd=frobnicate"]);
  assert.deepEqual(aborts, [[0, 17, "it is over"]]);
  assert.deepEqual(answers, []);
});

test("a command that no client may send is refused", () => {
  assert.throws(
    () => answersTo(["cmd=frobnicate"]),
    (error) => isFluxError(error, "EPROTO"),
  );
});
