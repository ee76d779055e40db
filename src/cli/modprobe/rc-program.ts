/** The Python program that holds the functions of rc files. It asks for what concerns the broker. */
import { isJsonObject, type JsonObject } from "../../base/json.ts";
import { PythonProgram, type Answers } from "../framework/python-program.ts";

export class RcProgram extends PythonProgram {
  constructor(answers: Answers) {
    super("modprobe.py", "FLUX_MODPROBE_FD", answers);
  }

  /** The tasks that a file declares. Rejects with what went wrong while it was read. */
  async read(path: string): Promise<readonly JsonObject[]> {
    const tasks = await this.order({ do: "read", path });
    return Array.isArray(tasks) ? tasks.filter(isJsonObject) : [];
  }

  /** Calls the `setup` functions of the files. */
  async setup(): Promise<void> {
    await this.order({ do: "setup" });
  }

  /** Calls the function of a task. Rejects with what it raised. */
  async run(name: string): Promise<void> {
    await this.order({ do: "task", name });
  }
}
