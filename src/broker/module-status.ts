/** The states of a module, as `module.list` and `module.status` number them (RFC 5). */
export const ModuleStatus = { Init: 0, Running: 1, Finalizing: 2, Exited: 3 } as const;
export type ModuleStatus = (typeof ModuleStatus)[keyof typeof ModuleStatus];
