/** `flux kvs put`. */
import { EMPTY_BYTES, utf8Decode } from "../../../base/bytes.ts";
import { FluxError } from "../../../base/errors.ts";
import { parseTreeobj, type Treeobj } from "../../../formats/treeobj.ts";
import { KvsTransaction } from "../../../sdk/kvs.ts";
import type { CommandContext } from "../../framework/command.ts";
import { argumentBytes } from "../../framework/argument-bytes.ts";
import { commit, openKvs, orFail } from "./support.ts";

const EQUALS_SIGN = 0x3d;

export async function put(context: CommandContext): Promise<void> {
  const { options, operands } = context;
  if (operands.length === 0) context.failUsage();
  const kvs = await openKvs(context);
  const transaction = new KvsTransaction();
  const input = { isRead: false };
  for (const operand of operands) {
    const equals = operand.indexOf("=");
    if (equals < 0) context.fail("put: you must specify a value as key=value");
    const key = operand.slice(0, equals);
    await orFail(context, key, async () => {
      if (key === "") throw new FluxError("EINVAL");
      const text = operand.slice(equals + 1);
      // Whatever its length, input takes a bounded memory; what is appended goes as one piece.
      if (text === "-" && options.has("raw") && !options.has("treeobj") && !options.has("append") && !input.isRead) {
        input.isRead = true;
        return void transaction.putTreeObject(key, await kvs.storeValue(context.inputChunks()));
      }
      const value = await valueOf(context, operand, input);
      if (options.has("treeobj")) transaction.putTreeObject(key, treeObjectOf(value));
      else if (options.has("append")) transaction.append(key, value);
      else transaction.putBytes(key, value);
    });
  }
  await commit(context, kvs, transaction);
}

/** A value of the command line; "-" stands for standard input, which is read once. */
async function valueOf(context: CommandContext, operand: string, input: { isRead: boolean }): Promise<Uint8Array> {
  const { options } = context;
  const isInput = operand.endsWith("=-") && operand.indexOf("=") === operand.length - 2;
  if (!isInput || !(options.has("raw") || options.has("treeobj"))) {
    const bytes = argumentBytes(operand);
    return bytes.subarray(bytes.indexOf(EQUALS_SIGN) + 1);
  }
  if (input.isRead) return EMPTY_BYTES;
  input.isRead = true;
  return context.readInput();
}

function treeObjectOf(value: Uint8Array): Treeobj {
  try {
    return parseTreeobj(utf8Decode(value));
  } catch (error) {
    // Which of its parts is wrong is for who wrote it to see: the reference's one word is what scripts look for.
    throw new FluxError("EPROTO", undefined, { cause: error });
  }
}
