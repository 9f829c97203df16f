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

const GRACE = 100; // milliseconds for a decision; a later one is used once it is there
const MAX_BACKOFF = 30; // seconds

/** A decision on two answers; `result` is undefined as long as there is none. */
type Decision = { mine: AnswerChange; theirs: AnswerChange; result?: { answer: AnswerChange } | "failed" };
/** A conflict without a decision; it is due at a time of the steady clock. */
type Conflict = { decision: Decision; failures: number; due: number };

/** The merges of an attempt, and the conflicts that are undecided. */
export class Merger {
  private conflicts = new Map<string, Conflict>();

  /** `decided` is called when there is a decision that came late. */
  constructor(
    private merge: Merge,
    private decided: () => void,
  ) {}

  /** Returns the change to send, merged if another device has changed the answer; null while that is undecided. */
  async change(question: string, change: Change, theirs: AnswerChange): Promise<Change | null> {
    const { answer: mine, seen } = change;
    if (same(theirs, seen) || same(theirs, mine)) return this.end(question, change);
    const conflict = this.conflicts.get(question) ?? { decision: { mine, theirs, result: "failed" }, failures: 0, due: 0 };
    this.conflicts.set(question, conflict);
    let result = resultFor(conflict.decision, mine, theirs);
    if (typeof result !== "object" && performance.now() >= conflict.due) {
      conflict.due = performance.now() + 1000 * (1 + Math.random() / 2) * Math.min(MAX_BACKOFF, 2 ** conflict.failures++);
      if (result === "failed") await this.ask(question, (conflict.decision = { mine, theirs }));
      result = resultFor(conflict.decision, mine, theirs);
    }
    return typeof result === "object" ? this.end(question, { answer: result.answer, seen: theirs }) : null;
  }

  /** Returns the seconds until the merge of one of these undecided questions is asked again. */
  secondsUntilDue(questions: Iterable<string>): number {
    const dues = [...questions].map((question) => this.conflicts.get(question)?.due ?? 0);
    return Math.max(0.01, (Math.min(...dues) - performance.now()) / 1000);
  }

  private end(question: string, change: Change): Change {
    this.conflicts.delete(question);
    return change;
  }

  /** Asks for a decision; resolves once there is one, or after GRACE. */
  private async ask(question: string, decision: Decision): Promise<void> {
    const { mine, theirs } = decision;
    let late = false;
    const decide = async (): Promise<void> => {
      try {
        const answer = copyOf(await this.merge(question, mine, theirs));
        const valid = answer !== null || mine === null || theirs === null;
        decision.result = valid ? { answer } : "failed";
      } catch {
        decision.result = "failed";
      }
      if (late) this.decided();
    };
    let timer: ReturnType<typeof setTimeout> | undefined;
    await Promise.race([decide(), new Promise((resolve) => (timer = setTimeout(resolve, GRACE)))]);
    clearTimeout(timer);
    late = true;
  }
}

/** Returns the result of a decision; that on other answers counts as failed, once it is there. */
function resultFor(decision: Decision, mine: AnswerChange, theirs: AnswerChange): Decision["result"] {
  const { result } = decision;
  return result && same(decision.mine, mine) && same(decision.theirs, theirs) ? result : result && "failed";
}
