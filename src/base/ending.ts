/** How processes ended, in words. */
import { exitCodeOfStatus, signalOfStatus, signalSentence } from "./signals.ts";

/** Of a wait status: `Exit 3`, `Terminated`. */
export function endingText(status: number): string {
  const signum = signalOfStatus(status);
  return signum === 0 ? `Exit ${exitCodeOfStatus(status)}` : signalSentence(signum);
}
