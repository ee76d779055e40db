/**
 * Commits that their senders may send again, since they could not hear what became of them: the link broke between them and
 * the leader. Such a commit says who sends it, which of his it is, and up to which he has all answers (`once`).
 *
 * Invariant: of commits with the same sender and number one is carried out at most, and none before those with lower ones
 * have been begun.
 */
import { FluxError } from "../../base/errors.ts";
import type { CommitAnswer, Once } from "../../sdk/kvs-protocol.ts";

/** Senders that are remembered; beyond, the one who has been silent for longest is forgotten. */
const SENDERS_MAX = 4096;

interface Sender {
  answered: number;
  /** The later ones, with the answer, or null while they are being carried out. */
  readonly commits: Map<number, CommitAnswer | null>;
}

export class SentAgain {
  readonly #senders = new Map<string, Sender>();

  /**
   * The answer to a commit that came before; null: it came for the first time. Throws EAGAIN while it is being carried out,
   * or where one that goes before it is missing.
   */
  begin({ sender, number, answered }: Once): CommitAnswer | null {
    const known = this.#senders.get(sender) ?? { answered, commits: new Map() };
    this.#senders.delete(sender);
    this.#senders.set(sender, known);
    if (this.#senders.size > SENDERS_MAX) this.#senders.delete(this.#senders.keys().next().value!);
    known.answered = Math.max(known.answered, answered);
    for (const each of known.commits.keys()) if (each <= known.answered) known.commits.delete(each);
    const answer = known.commits.get(number);
    if (answer === undefined) {
      const begun = [...known.commits.keys()].filter((each) => each < number).length;
      // One that comes late, after it was sent again and answered, has nobody who waits for it.
      if (known.answered + begun !== number - 1) throw new FluxError("EAGAIN");
      known.commits.set(number, null);
      return null;
    }
    if (answer === null) throw new FluxError("EAGAIN");
    return answer;
  }

  /** One that failed did nothing: it may come again. */
  end({ sender, number }: Once, outcome: CommitAnswer | FluxError): void {
    const commits = this.#senders.get(sender)?.commits;
    if (outcome instanceof FluxError) commits?.delete(number);
    else commits?.set(number, outcome);
  }
}
