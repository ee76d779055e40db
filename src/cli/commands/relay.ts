/**
 * `flux relay PATH`: connects standard input and output with a broker's socket. What `flux proxy` and the connector `ssh`
 * start on another machine.
 */
import { connect } from "node:net";
import { FluxError } from "../../base/errors.ts";
import { defineCommand, type Command } from "../framework/command.ts";
import { relayComplaint } from "../proxy/ssh.ts";

export const command: Command = defineCommand({
  name: "relay",
  dialect: "getopt",
  usageProgram: "flux relay",
  summary: "Relay messages between stdio and local://path",
  description: "Relay messages between stdio and local://path",
  usage: "[OPTIONS] path",
  operands: [{ name: "path", arity: "1" }],
  run: (context) => {
    const [path] = context.operands;
    if (path === undefined) return context.fail("path argument is required");
    const socket = connect(path);
    return new Promise((resolve) => {
      let isConnected = false;
      socket.on("connect", () => {
        isConnected = true;
        process.stdin.pipe(socket);
        socket.pipe(process.stdout);
      });
      socket.on("error", (error: NodeJS.ErrnoException) => {
        if (isConnected) return;
        context.err(`${relayComplaint(path, new FluxError(error.code === "ENOENT" ? "ENOENT" : "ECONNREFUSED"))}\n`);
        resolve(1);
      });
      // Nobody reads any more: the client has gone.
      process.stdout.on("error", () => socket.destroy());
      socket.on("close", () => resolve(isConnected ? 0 : 1));
    });
  },
});
