/**
 * What `flux start --test-size=N` offers to programs that test it (`FLUX_START_URI`): the brokers' processes, by RPC over
 * the same protocol as a broker's own socket.
 */
import type { Ports } from "../../base/ports.ts";
import { LocalConnector } from "../../broker/connector-local.ts";
import { Pace } from "../../broker/pace.ts";
import type { Credentials, Port } from "../../broker/port.ts";
import { Router, type RouterOptions } from "../../broker/router.ts";
import { Role } from "../../protocol/message.ts";
import { Handle } from "../../sdk/handle.ts";
import { RequestSet } from "../../sdk/request-set.ts";
import { requireInteger, Server } from "../../sdk/service.ts";

export interface StartControl {
  /** Process ids by rank, -1 where none runs. */
  pids(): readonly number[];
  /** Throws ENOENT. */
  kill(rank: number, signum: number): void;
  isRunning(rank: number): boolean;
  /** How the last process of a rank ended; null where none has. */
  exitCode(rank: number): number | null;
  /** Throws EEXIST. */
  run(rank: number): void;
  /** Tells of clients that come and go. */
  say(text: string): void;
}

const SHOWN_DIGITS = 5;

/** Says who comes and goes. */
class TalkingRouter extends Router {
  readonly #say: (text: string) => void;
  #isOwnPort = true;

  constructor(say: (text: string) => void, options: RouterOptions) {
    super(options);
    this.#say = say;
  }

  override attach(credentials: Credentials): Port {
    const port = super.attach(credentials);
    if (!this.#isOwnPort) this.#say(`hi ${port.uuid.slice(0, SHOWN_DIGITS)}`);
    this.#isOwnPort = false;
    return port;
  }

  override detach(port: Port): void {
    this.#say(`bye ${port.uuid.slice(0, SHOWN_DIGITS)}`);
    super.detach(port);
  }
}

export class StartServer {
  readonly #connector: LocalConnector;
  readonly #waiting = new RequestSet<number>();

  constructor(ports: Ports, control: StartControl) {
    const { uid } = ports.host;
    const router = new TalkingRouter((text) => control.say(text), {
      rank: 0,
      size: 1,
      ownerUserid: uid,
      routes: { parent: null, children: [], nextHop: () => null },
      newUuid: () => ports.random.uuid(),
      defer: (callback) => ports.clock.defer(callback),
    });
    const port = router.attach({ userid: uid, rolemask: Role.Owner | Role.Local });
    const server = new Server(new Handle(port), {
      rank: 0,
      fatal: (error) => {
        throw error;
      },
    });
    router.addService(port, "start");
    server.add("start", {
      status: () => ({ procs: control.pids().map((pid) => ({ pid })) }),
      kill: (request) => {
        control.kill(requireInteger(request.json, "rank"), requireInteger(request.json, "signum"));
        return null;
      },
      run: (request) => {
        control.run(requireInteger(request.json, "rank"));
        return null;
      },
      wait: (request) => {
        const rank = requireInteger(request.json, "rank");
        if (control.isRunning(rank)) {
          this.#waiting.add(request, rank);
          return undefined;
        }
        // One that was not started yet has nothing to complain of.
        return { exit_rc: control.exitCode(rank) ?? 0 };
      },
      disconnect: (request) => {
        control.say(`disconnect from ${request.sender.slice(0, SHOWN_DIGITS)}`);
        this.#waiting.takeDisconnected(request);
        return undefined;
      },
    });
    this.#connector = new LocalConnector({
      net: ports.net,
      clock: ports.clock,
      pace: new Pace(ports.clock),
      router,
      ownerUserid: uid,
      access: () => ({ allowGuestUser: false, allowRootOwner: false }),
      isOffline: () => false,
      log: () => {},
    });
  }

  listen(path: string): Promise<void> {
    return this.#connector.listen(path);
  }

  /** A broker's process ended: who waits for it hears so. */
  ended(rank: number, exitCode: number): void {
    for (const [request, waited] of this.#waiting) {
      if (waited !== rank) continue;
      this.#waiting.delete(request);
      request.respond({ exit_rc: exitCode });
    }
  }

  close(): Promise<void> {
    return this.#connector.close();
  }
}
