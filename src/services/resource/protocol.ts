/**
 * The messages of the service `resource` (RFC 28, RFC 44, and what the commands use).
 *
 * | topic                     | role  | request                     | response                                        |
 * |---------------------------|-------|-----------------------------|-------------------------------------------------|
 * | resource.acquire          | owner | streaming                   | {resources, up}, then {up?, down?, shrink?, expiration?}; EBUSY |
 * | resource.acquire-cancel   | owner | {matchtag}                  | none                                            |
 * | resource.acquire-mute     | owner |                             | empty                                           |
 * | resource.status           | user  |                             | {R, drain, online, offline, exclude, torpid, allocated?} |
 * | resource.sched-status     | user  |                             | {all, down, allocated}                          |
 * | resource.drain            | owner | {targets, reason?, mode?}   | empty; EEXIST, EINVAL                           |
 * | resource.undrain          | owner | {targets, reason?, mode?}   | empty; EEXIST, EINVAL                           |
 * | resource.reload           | owner | {path, xml?, force?}        | empty; EBUSY, EINVAL                            |
 * | resource.get              | owner |                             | {R, method}                                     |
 * | resource.journal          | owner | streaming                   | {events, R?}, sentinel {events: []}, then live  |
 * | resource.journal-cancel   | owner | {matchtag}                  | none                                            |
 * | resource.topo-reduce      | owner | {resource}                  | empty; a rank's own resources, to rank 0        |
 * | resource.topo-get         | user  |                             | hwloc XML as text, no JSON; on every rank       |
 * | resource.expiration-update| owner | {expiration}                | empty                                           |
 * | resource.monitor-force-down | owner | {ranks}                   | empty                                           |
 * | resource.monitor-waitup   | owner | {up}                        | empty, when so many ranks are online            |
 */

/** Where an R came from, as `resource-define` says it (RFC 44). */
export type DefineMethod = "configuration" | "dynamic-discovery" | "reload" | "job-info" | "kvs";

/** How a drain treats ranks that are drained already: refuse, leave them, replace the reason, replace reason and time. */
export type DrainMode = "default" | "update" | "overwrite" | "force-overwrite";
