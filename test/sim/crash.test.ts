/** A crash at every disk operation, and what is there afterwards. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { concatBytes } from "../../src/base/bytes.ts";
import type { Ports } from "../../src/base/ports.ts";
import { decodeBlobs } from "../../src/sdk/blob-batch.ts";
import { CRASH_MARKS, sweepCrashes, type CrashSweepOptions, type Durability } from "./crash-sweep.ts";
import { altered, withDisk, withLog } from "./plant.ts";

const OPERATIONS = 320;

for (const durability of ["process", "fsync"] as const)
  test(`a crash at each of ${OPERATIONS} disk operations leaves an allowed state (durability "${durability}")`, async () => {
    const { failures, marks, operations } = await sweepCrashes({
      seed: "1",
      durability,
      operations: OPERATIONS,
      tornPerPoint: 1,
    });
    assert.deepEqual(failures, []);
    assert.ok(operations >= OPERATIONS);
    assert.deepEqual(
      CRASH_MARKS.filter((mark) => !marks.has(mark)),
      [],
      "situations that were not met",
    );
    const lost = marks.get("acknowledged changes of the last second were lost") ?? 0;
    assert.equal(lost > 0, durability === "process", "power loss takes the last second, unless each commit is synced");
  });

test("the same with a directory that is stored in pieces", async () => {
  const { failures } = await sweepCrashes({ seed: "2", durability: "fsync", operations: 200, isWide: true, stride: 3 });
  assert.deepEqual(failures, []);
});

test("the same with a disk that is full now and then", async () => {
  const options = { seed: "3", durability: "fsync", operations: 250, isTight: true, stride: 3 } as const;
  const { failures, marks } = await sweepCrashes(options);
  assert.deepEqual(failures, []);
  assert.ok(marks.has("a change was refused on a full disk"));
});

/** Faults planted below the services: each must be found, or the sweep proves nothing. */
const PLANTED: readonly {
  readonly fault: string;
  readonly durability: Durability;
  readonly found: RegExp;
  readonly wrap: () => (ports: Ports) => Ports;
}[] = [
  {
    fault: "one append in ten is skipped",
    durability: "process",
    found: /must hold between/,
    wrap: () => {
      let count = 0;
      return (ports) => withLog(ports, (log) => ({ append: (data) => void (++count % 10 === 0 || log.append(data)) }));
    },
  },
  {
    fault: "a sync resolves before it is done",
    durability: "fsync",
    found: /must hold between/,
    wrap: () => (ports) =>
      withLog(ports, (log) => ({
        sync: () => {
          void log.sync();
          return Promise.resolve();
        },
      })),
  },
  {
    fault: "the log is never synchronised",
    durability: "process",
    found: /must hold between/,
    wrap: () => (ports) => withLog(ports, () => ({ sync: () => Promise.resolve() })),
  },
  {
    fault: "checkpoints are acknowledged and not written",
    durability: "process",
    found: /must hold between|does not follow/,
    wrap: () => (ports) =>
      withDisk(ports, (disk) => ({
        openBlobDatabase: (...options) => {
          const database = disk.openBlobDatabase(...options);
          return altered(database, { putCheckpoint: () => Promise.resolve() });
        },
      })),
  },
  {
    fault: "the rotated log is removed before its checkpoint is there",
    durability: "process",
    found: /must hold between/,
    wrap: () => (ports) =>
      withDisk(ports, (disk) => ({
        rename: (from, to) => {
          disk.rename(from, to);
          disk.remove(to);
        },
      })),
  },
  {
    fault: "the content store answers before it has stored",
    durability: "process",
    found: /cannot be read|is missing/,
    wrap: () => (ports) =>
      withDisk(ports, (disk) => ({
        openBlobDatabase: (...options) => {
          const database = disk.openBlobDatabase(...options);
          return altered(database, {
            store: (batch, isLeased) => {
              ports.clock.after(500, () => void database.store(batch, isLeased));
              const digests = decodeBlobs(batch).map((blob) => ports.codec.digest("sha1", blob));
              return Promise.resolve(concatBytes(digests));
            },
          });
        },
      })),
  },
  {
    fault: "nothing is kept for the commits that refer to it",
    durability: "fsync",
    found: /cannot be read|is missing/,
    wrap: () => (ports) =>
      withDisk(ports, (disk) => ({
        openBlobDatabase: (...options) =>
          altered(disk.openBlobDatabase(...options), { keep: () => Promise.resolve(new Uint8Array(0)) }),
      })),
  },
];

for (const { fault, durability, found, wrap } of PLANTED)
  test(`a planted fault is found: ${fault}`, async () => {
    const planted = { durability, wrapPorts: wrap() };
    const options: CrashSweepOptions = { seed: "1", operations: 200, stride: 5, failuresMax: 20, ...planted };
    const outcome = await sweepCrashes(options).then(
      ({ failures }) => failures,
      (error: unknown) => [String(error)],
    );
    assert.ok(outcome.length > 0, "nothing was found");
    assert.match(outcome.join("\n"), found);
  });
