/** The outbox: an attempt's answers on the device, stored before they are sent and until the attempt has ended. */
import type { AnswerChange } from "./client.js";
import type { Emit } from "./events.js";
import { answerIn, copyOf, dict, same, type Dict } from "./json.js";
import { answersOf, nothingKept, parseKept, type Change, type Changes, type Kept, type Owner, type Write } from "./kept.js";
import { makeKey } from "./request.js";
import type { Session } from "./schema.js";
import { settle, type Store } from "./stores.js";

/** Chooses the answer to a question from the learner's and the stored one, which another device has saved. */
export type Merge = (
  question: string,
  mine: AnswerChange,
  theirs: AnswerChange,
) => AnswerChange | Promise<AnswerChange>;

const MAX_ANSWERS = 500; // in a request
// After a restore an operator adds a million to the versions. No client makes half as many writes in between.
const RESTORED = 500_000;

export class Outbox {
  kept: Kept = nothingKept();
  storeFailed = false;
  setAside: string | null = null;
  /** Resolves when the content is stored, or when the store has failed; it is never rejected. */
  stored: Promise<void> = Promise.resolve();
  private unread = false; // the store has content that is not in memory: never overwrite it
  private batch = MAX_ANSWERS;
  private content: string | null = null; // to be written
  private writing = false;

  constructor(
    private store: Store,
    private name: string,
  ) {}

  /** Loads the content, or moves it aside if it cannot be used; returns a promise if the store does. */
  load(): void | Promise<void> {
    return settle(
      () => this.store.getItem(this.name),
      (content) => this.take(content),
      () => this.cannotRead(),
    );
  }

  /** The answers that the service has not acknowledged. */
  get unsaved(): Dict<AnswerChange> {
    return { ...answersOf(this.kept.sent?.changes ?? {}), ...answersOf(this.kept.unsent) };
  }

  get isEmpty(): boolean {
    return Object.keys(this.unsaved).length === 0;
  }

  /** Returns whether the answers are this owner's; those without a user have not been sent yet. */
  belongsTo({ user_id, quiz_id }: Owner): boolean {
    return this.kept.user_id === null || (this.kept.user_id === user_id && this.kept.quiz_id === quiz_id);
  }

  /**
   * Adds an answer that was given at a time, by the device's date; `stored` is the one that the service has, as far as is
   * known. Ignores an answer that is older than another one to the question.
   */
  add(question: string, answer: AnswerChange, stored: AnswerChange, time: number): void {
    const { sent, unsent, times } = this.kept;
    if (time < (times[question] ?? 0)) return;
    times[question] = time;
    const sentBefore = sent && Object.hasOwn(sent.changes, question) ? sent.changes[question] : undefined;
    const seen = unsent[question] ? unsent[question].seen : sentBefore ? sentBefore.answer : stored;
    unsent[question] = { answer, seen };
  }

  /** Returns the write in flight, or makes one and emits what was merged; null if no answer can be merged. */
  async nextWrite(session: Session, merge: Merge, unmerged: Set<string>, emit: Emit): Promise<Write | null> {
    if (this.kept.sent) return this.kept.sent;
    const changes: Changes = dict();
    const taken: Changes = dict();
    for (const [question, change] of Object.entries(this.kept.unsent)) {
      if (Object.keys(changes).length === this.batch) break;
      if (unmerged.has(question)) continue;
      const theirs = answerIn(session.answers, question);
      const merged = await mergeChange(merge, question, change, theirs);
      if (!merged) unmerged.add(question);
      else [changes[question], taken[question]] = [merged, change];
      if (merged && merged !== change) {
        emit({ type: "merged", question, mine: change.answer, theirs, answer: merged.answer });
      }
    }
    // An answer that was changed during a merge is merged again.
    for (const [question, change] of Object.entries(taken)) {
      if (this.kept.unsent[question] !== change) delete changes[question];
    }
    if (Object.keys(changes).length === 0) return null;
    // Nothing can fail between these lines.
    this.kept.sent = { key: makeKey(), changes, version: session.version };
    for (const question of Object.keys(changes)) delete this.kept.unsent[question];
    this.keep();
    return this.kept.sent;
  }

  /**
   * Takes the id, the owner and the version from a session of the service.
   *
   * A version that is lower than the last one, or higher by RESTORED, is that of a restored database: saved answers
   * that it lacks are unsent again, and are returned. A saved answer that another device has replaced is forgotten.
   */
  adopt({ id, user_id, quiz_id, version, answers }: Session): Dict<AnswerChange> {
    const { kept } = this;
    const restored = version < kept.version || (kept.version > 0 && version >= kept.version + RESTORED);
    const again: Dict<AnswerChange> = dict();
    for (const [question, answer] of Object.entries(kept.saved)) {
      const stored = answerIn(answers, question);
      if (same(stored, answer)) continue;
      delete kept.saved[question];
      if (!restored || this.hasLater(question, answer, stored)) continue;
      again[question] = answer;
      kept.unsent[question] = { answer, seen: stored };
    }
    Object.assign(kept, { id, user_id, quiz_id, version, anew: false });
    return again;
  }

  /** Returns whether a later answer replaces a saved one that was lost: the stored answer is no conflict with it. */
  private hasLater(question: string, saved: AnswerChange, stored: AnswerChange): boolean {
    const groups = [this.kept.unsent, this.kept.sent?.changes ?? {}];
    const later = groups.filter((changes) => Object.hasOwn(changes, question)).map((changes) => changes[question]!);
    for (const change of later) if (same(change.seen, saved)) change.seen = stored;
    return later.length > 0;
  }

  /** Moves the write with this key, if it is still in flight, to the saved answers; returns them. */
  acknowledge(key: string): Dict<AnswerChange> {
    if (this.kept.sent?.key !== key) return {};
    const answers = answersOf(this.kept.sent?.changes ?? {});
    Object.assign(this.kept.saved, answers);
    [this.kept.sent, this.batch] = [null, MAX_ANSWERS];
    return answers;
  }

  /** Puts the answers of the write back among the unsent ones, unless there are newer ones; returns them. */
  requeue(): Changes {
    const changes = this.kept.sent?.changes ?? dict();
    for (const [question, { answer, seen }] of Object.entries(changes)) {
      this.kept.unsent[question] = { answer: (this.kept.unsent[question] ?? { answer }).answer, seen };
    }
    this.kept.sent = null;
    return changes;
  }

  /** Requeues the write, and makes the next one half as large. */
  shrink(): void {
    this.batch = Math.max(1, Math.floor(Object.keys(this.requeue()).length / 2));
  }

  /** Halves a refused write until the answer that causes the refusal is found; returns that one. */
  refuse(): Dict<AnswerChange> {
    const answers = answersOf(this.kept.sent?.changes ?? {});
    this.shrink();
    if (Object.keys(answers).length > 1) return {};
    for (const [question, answer] of Object.entries(answers)) {
      this.kept.refused[question] = answer;
      if (same(this.kept.unsent[question]!.answer, answer)) delete this.kept.unsent[question];
    }
    return answers;
  }

  /** Collects the answers that came too late: a write whose reply was lost may have been applied. */
  end(stored: Dict<AnswerChange>): void {
    this.requeue();
    for (const [question, answer] of Object.entries(this.unsaved)) {
      if (!same(answerIn(stored, question), answer)) this.kept.lost[question] = answer;
    }
    Object.assign(this.kept, { unsent: dict(), saved: dict(), completing: false });
  }

  /** Prepares a new attempt after the service has lost this one, with every answer that is known. */
  restart(stored: Dict<AnswerChange>): void {
    this.requeue();
    const known = Object.entries({ ...stored, ...this.kept.saved, ...this.unsaved });
    this.kept.unsent = dict(Object.fromEntries(known.map(([name, answer]) => [name, { answer, seen: null }])));
    Object.assign(this.kept, { id: null, anew: true, version: 0, saved: dict() });
  }

  /** Removes the content; answers in it are moved aside. Returns false if that fails. */
  async clear(): Promise<boolean> {
    const answers = { ...this.unsaved, ...this.kept.refused, ...this.kept.lost };
    if (Object.keys(answers).length > 0 && !(await this.moveAside(JSON.stringify(this.kept)))) return false;
    this.kept = nothingKept();
    return true;
  }

  /** Writes the content; `stored` resolves afterwards. */
  keep(): void {
    this.content = JSON.stringify(this.kept);
    if (this.unread) this.storeFailed = true;
    else if (!this.writing) this.stored = this.writeAll();
  }

  private async writeAll(): Promise<void> {
    this.writing = true;
    while (this.content !== null) {
      const content = this.content;
      this.content = null;
      const written = this.write(this.name, content);
      this.storeFailed = !(typeof written === "boolean" ? written : await written);
    }
    this.writing = false;
  }

  private take(content: string | null): void | Promise<void> {
    if (content === null) return;
    try {
      this.kept = parseKept(content);
    } catch {
      return settle(
        () => this.moveAside(content),
        (moved) => (moved ? this.keep() : this.cannotRead()),
      );
    }
  }

  private cannotRead(): void {
    this.unread = true;
    this.keep();
  }

  private moveAside(content: string): boolean | Promise<boolean> {
    const name = `${this.name}.${makeKey()}`;
    return settle(
      () => this.write(name, content),
      (moved) => {
        if (moved) this.setAside = name;
        else this.storeFailed = true;
        return moved;
      },
    );
  }

  /** Returns whether the store has taken the content; a full store, or one that is switched off, has not. */
  private write(name: string, content: string): boolean | Promise<boolean> {
    return settle(
      () => this.store.setItem(name, content),
      () => true,
      () => false,
    );
  }
}

/** Returns the change to send, merged if another device has changed the answer; null if that fails. */
async function mergeChange(
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

