/**
 * The attributes a broker knows, with the rules of flux-broker-attributes(7). Pure data.
 *
 * `immutable`: clients may keep the value, it never changes. `readonly`: not to be set on the command line.
 * `runtime`: clients may set it. A value of null is unset until somebody sets it.
 */

export interface AttributeRule {
  readonly initial: string | null;
  readonly immutable?: boolean;
  readonly readonly?: boolean;
  readonly runtime?: boolean;
  /** The value is a duration (RFC 23) and is kept in its canonical form. */
  readonly duration?: boolean;
  /** The value is an integer from the first to the second number. */
  readonly range?: readonly [number, number];
  /** The value is one of these words. */
  readonly choices?: readonly string[];
  /** The value may not be empty. */
  readonly filled?: boolean;
}

const fixed: AttributeRule = { initial: null, immutable: true, readonly: true };
const given: AttributeRule = { initial: null, immutable: true };
const free: AttributeRule = { initial: null };
const runtime: AttributeRule = { initial: null, runtime: true };

const ANY_INTEGER: readonly [number, number] = [-(2 ** 31), 2 ** 31 - 1];
/** -1 turns a threshold off; 7 is debug. */
const SEVERITY: readonly [number, number] = [-1, 7];
const SWITCH: readonly [number, number] = [0, 1];

export const ATTRIBUTE_RULES: Readonly<Record<string, AttributeRule>> = {
  rank: fixed,
  size: fixed,
  version: { initial: null, readonly: true },
  "security.owner": fixed,
  rundir: free,
  "rundir-cleanup": given,
  statedir: free,
  "statedir-cleanup": given,
  "local-uri": given,
  "parent-uri": fixed,
  "instance-level": fixed,
  jobid: fixed,
  "jobid-path": fixed,
  "parent-kvs-namespace": fixed,
  hostlist: given,
  hostname: given,
  "broker.mapping": fixed,
  "broker.critical-ranks": given,
  "broker.boot-method": given,
  "broker.pid": fixed,
  "broker.uuid": fixed,
  "broker.starttime": fixed,
  "broker.quorum": given,
  "broker.quorum-warn": { initial: "60s", immutable: true, duration: true },
  "broker.shutdown-warn": { initial: "60s", immutable: true, duration: true },
  "broker.shutdown-timeout": { initial: "none", immutable: true, duration: true },
  "broker.cleanup-timeout": { initial: "none", duration: true },
  "broker.unload-builtins-timeout": { initial: "60s", duration: true },
  "broker.rc1_path": free,
  "broker.rc3_path": free,
  "broker.rc2_none": free,
  "broker.rc2_pgrp": free,
  "broker.exit-restart": runtime,
  "broker.module-nopanic": runtime,
  "broker.sd-notify": free,
  "broker.sd-stop-timeout": { initial: "none", immutable: true, duration: true },
  "broker.exit-norestart": free,
  "broker.recovery-mode": free,
  "broker.respawn": free,
  "broker.resume": given,
  "broker.fail-on": given,
  "conf.shell_initrc": runtime,
  "conf.shell_pluginpath": runtime,
  "config.path": given,
  "tbon.topo": { initial: "kary:32" },
  "tbon.descendants": { initial: null, readonly: true },
  "tbon.level": { initial: null, readonly: true },
  "tbon.maxlevel": { initial: null, readonly: true },
  "tbon.endpoint": { initial: null, readonly: true },
  "tbon.parent-endpoint": { initial: null, readonly: true },
  "tbon.zmqdebug": { initial: "0", range: ANY_INTEGER },
  "tbon.zmq_io_threads": { initial: "1", range: [1, 2 ** 31 - 1] },
  "tbon.child_rcvhwm": { initial: "0", range: [0, 2 ** 31 - 1] },
  "tbon.prefertcp": { initial: "0", range: ANY_INTEGER },
  "tbon.interface-hint": { initial: "default-route", immutable: true, runtime: true },
  "tbon.torpid_min": { initial: "5s", duration: true },
  "tbon.torpid_max": { initial: "30s", duration: true },
  "tbon.rejoin_timeout": { initial: "10s", duration: true },
  "tbon.tcp_user_timeout": { initial: "20s", duration: true },
  "tbon.connect_timeout": { initial: "30s", duration: true },
  "tbon.fanout": free,
  "log-ring-size": { initial: "1024", immutable: true, range: [0, 2 ** 31 - 1] },
  "log-forward-level": { initial: "3", immutable: true, range: SEVERITY },
  "log-critical-level": { initial: "2", immutable: true, range: SEVERITY },
  "log-filename": { initial: null, filled: true },
  "log-syslog-enable": { initial: "0", immutable: true, range: SWITCH },
  "log-syslog-level": { initial: "3", immutable: true, range: [0, 7] },
  "log-stderr-mode": { initial: "leader", immutable: true, choices: ["leader", "local"] },
  "log-stderr-level": { initial: "3", runtime: true, range: SEVERITY },
  "log-level": { initial: "7", immutable: true, range: SEVERITY },
  "content.backing-module": free,
  "content.hash": { initial: "sha1", immutable: true },
  "content.dump": free,
  "content.restore": free,
  "cron.directory": free,
};

/** Name spaces whose members need not be listed: vendors' own, and those of tests. */
export const ATTRIBUTE_FAMILIES: readonly (readonly [prefix: string, rule: AttributeRule])[] = [
  ["vendor.", runtime],
  ["test.", runtime],
  ["test-ro.", { initial: null, readonly: true }],
  ["test-nr.", { initial: null }],
  ["test-im.", { initial: null, immutable: true }],
  ["test-rd.", { initial: null, readonly: true }],
];
