/**
 * Who may connect besides the owner: the table `[access]` (flux-config-access(5)). Pure.
 */
import { FluxError } from "../base/errors.ts";
import { isJsonObject, type JsonObject } from "../base/json.ts";
import type { Access } from "./connector-local.ts";

const SWITCHES = ["allow-guest-user", "allow-root-owner", "private-mode"];
const ROLES = ["admin"];
const ROLE_KEYS = ["users", "groups"];

/** What is no boolean counts as false here: loading refuses it. */
export function accessOf(config: JsonObject): Access {
  const access = isJsonObject(config["access"]) ? config["access"] : {};
  return { allowGuestUser: access["allow-guest-user"] === true, allowRootOwner: access["allow-root-owner"] === true };
}

export function accessText(access: Access): string {
  return `allow-guest-user=${access.allowGuestUser} allow-root-owner=${access.allowRootOwner}`;
}

/** Throws EINVAL with a sentence that names the key. */
export function checkAccess(config: JsonObject): void {
  const access = tableOf(config, "access", "access");
  for (const key of Object.keys(access)) {
    if (key === "roles") continue;
    if (!SWITCHES.includes(key)) throw new FluxError("EINVAL", `unknown key access.${key}`);
    if (typeof access[key] !== "boolean") throw new FluxError("EINVAL", `access.${key} must be true or false`);
  }
  const roles = tableOf(access, "roles", "access.roles");
  for (const role of Object.keys(roles)) {
    if (!ROLES.includes(role)) throw new FluxError("EINVAL", `access.roles.${role}: unknown role`);
    for (const [key, value] of Object.entries(tableOf(roles, role, `access.roles.${role}`))) {
      if (!ROLE_KEYS.includes(key)) throw new FluxError("EINVAL", `unknown key access.roles.${role}.${key}`);
      if (!Array.isArray(value) || !value.every((name) => typeof name === "string"))
        throw new FluxError("EINVAL", `access.roles.${role}.${key} must be an array of names`);
    }
  }
}

function tableOf(parent: JsonObject, key: string, name: string): JsonObject {
  const value = parent[key] ?? {};
  if (!isJsonObject(value)) throw new FluxError("EINVAL", `${name} must be a table`);
  return value;
}
