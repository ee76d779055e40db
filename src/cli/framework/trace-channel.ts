/** Shows every message of a command's connection on standard error, where FLUX_HANDLE_TRACE asks for it (flux-environment(7)). */
import { utf8DecodeStrict } from "../../base/bytes.ts";
import {
  hasFlag,
  MessageFlag,
  MessageType,
  NODEID_ANY,
  Role,
  USERID_UNKNOWN,
  type Message,
} from "../../protocol/message.ts";
import type { MessageChannel } from "../../sdk/channel.ts";

const RULE: string = "-".repeat(38);
const FLAG_NAMES = ["topic", "payload", "noresponse", "route", "upstream", "private", "streaming"] as const;
const ROLE_NAMES: readonly (readonly [number, string])[] = [
  [Role.Owner, "owner"],
  [Role.User, "user"],
  [Role.Local, "local"],
  [Role.Admin, "admin"],
];
const MARKS: Readonly<Record<Message["type"], string>> = {
  [MessageType.Request]: ">",
  [MessageType.Response]: "<",
  [MessageType.Event]: "e",
  [MessageType.Control]: "c",
};

/** `seconds`: time since some moment. */
export function tracedChannel(
  channel: MessageChannel,
  seconds: () => number,
  write: (text: string) => void,
): MessageChannel {
  const since = seconds();
  const show = (message: Message): void => write(traceText(message, seconds() - since));
  return {
    start: (receive, closed) =>
      channel.start((message) => {
        show(message);
        receive(message);
      }, closed),
    send: (message) => {
      show(message);
      channel.send(message);
    },
    close: () => channel.close(),
  };
}

function traceText(message: Message, seconds: number): string {
  const mark = MARKS[message.type];
  const lines = [seconds.toFixed(5)];
  if (message.type === MessageType.Control) lines.push(`type=${message.controlType} status=${message.status}`);
  else {
    lines.push(message.topic, headerText(message));
    const text = message.payload === null ? null : utf8DecodeStrict(message.payload.bytes);
    if (message.payload !== null)
      lines.push(text === null ? `${message.payload.bytes.length} bytes` : text.replace(/\0$/, ""));
  }
  return `${RULE}\n${lines.map((line) => `${mark} ${line}\n`).join("")}`;
}

function headerText(message: Exclude<Message, { type: typeof MessageType.Control }>): string {
  const user = message.userid === USERID_UNKNOWN ? "unknown" : message.userid;
  const roles = ROLE_NAMES.filter(([bit]) => (message.rolemask & bit) !== 0).map(([, name]) => name);
  const common = `flags=${flagsOf(message)} userid=${user} rolemask=${roles.join(",") || "none"}`;
  if (message.type === MessageType.Event) return `${common} seq=${message.sequence}`;
  if (message.type === MessageType.Response) return `${common} errnum=${message.errnum} matchtag=${message.matchtag}`;
  const nodeid = message.nodeid === NODEID_ANY ? "any" : message.nodeid;
  return `${common} nodeid=${nodeid} matchtag=${message.matchtag}`;
}

/** As they go over the wire: what a message has is told by flags, too. */
function flagsOf(message: Message): string {
  const implied = MessageFlag.Topic | MessageFlag.Route;
  const payload = message.type !== MessageType.Control && message.payload !== null ? MessageFlag.Payload : 0;
  const flags = message.flags | implied | payload;
  return FLAG_NAMES.filter((_, bit) => hasFlag({ ...message, flags }, 1 << bit)).join(",");
}
