/** Packets for a statsd collector. */
import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { test } from "node:test";
import { FluxError } from "../base/errors.ts";
import { statsdSender } from "./statsd.ts";

test("lines travel as one packet", async () => {
  const collector = createSocket("udp4");
  collector.bind(0, "127.0.0.1");
  await once(collector, "listening");
  const packet = once(collector, "message");
  statsdSender(`127.0.0.1:${collector.address().port}`)(["a:1|g", "b:2|g"]);
  assert.equal(String((await packet)[0]), "a:1|g\nb:2|g");
  collector.close();
});

test("an address that is none is refused by name", () => {
  for (const address of ["foo", "foo:x", ":1", "host:70000"])
    assert.throws(
      () => statsdSender(address)(["a:1|g"]),
      (error) => error instanceof FluxError && error.message.includes(`'${address}' is not HOST:PORT`),
    );
});
