/** Merges: choose the answer to a question that another device has changed. */
import type { AnswerChange } from "./client.js";
import { copyOf, same } from "./json.js";
import type { Change } from "./kept.js";

/** Chooses the answer to a question from the learner's and the stored one, which another device has saved. */
export type Merge = (
  question: string,
  mine: AnswerChange,
  theirs: AnswerChange,
) => AnswerChange | Promise<AnswerChange>;

export const keepMine: Merge = (_question, mine) => mine;

/** Returns the change to send, merged if another device has changed the answer; null if that fails. */
export async function mergeChange(
  merge: Merge,
  question: string,
  change: Change,
  theirs: AnswerChange,
): Promise<Change | null> {
  const { answer: mine, seen } = change;
  if (same(theirs, seen) || same(theirs, mine)) return change;
  try {
    const answer = copyOf(await merge(question, mine, theirs));
    const valid = answer !== null || mine === null || theirs === null;
    return valid ? { answer, seen: theirs } : null;
  } catch {
    return null;
  }
}
