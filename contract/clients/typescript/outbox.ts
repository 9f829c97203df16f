/** The outbox: an attempt's answers on the device, stored before they are sent and until the attempt has ended. */
import type { AnswerChange } from "./client.js";
import type { LogicalClock } from "./clocks.js";
import type { Emit } from "./events.js";
import type { Entry } from "./inbox.js";
import { answerIn, dict, same, sizeOf, type Dict } from "./json.js";
import { answersOf, mergeKept, nothingKept, parseKept, type Assignment, type Changes, type Kept, type Write } from "./kept.js";
import type { Merger } from "./merge.js";
import { makeKey } from "./request.js";
import type { Session } from "./schema.js";
import { settle } from "./stores.js";
import type { StoredText } from "./text.js";

const MAX_ANSWERS = 500; // in a request
const MAX_PAST = 100; // ids of sessions of earlier attempts
const MAX_BYTES = 256 * 1024 - 100; // of the answers in a request; the body has its version, too
// After a restore an operator adds a million to the versions. No client makes half as many writes in between.
const RESTORED = 500_000;

export class Outbox {
  kept: Kept = nothingKept();
  private batch = MAX_ANSWERS;

  constructor(
    readonly text: StoredText,
    private clock: LogicalClock,
  ) {}

  /** Loads the content, or moves it aside if it cannot be used; returns a promise if the store does. */
  load(olderKey: string): void | Promise<void> {
    return settle(
      () => this.text.load(olderKey, (content) => void (this.kept = parseKept(content))),
      () => {
        for (const time of Object.values(this.kept.times)) this.clock.observe(time);
        if (this.text.setAside || this.text.hasUnread) this.keep();
      },
    );
  }

  /** Reads content again that could not be read before, and adds what was added meanwhile. */
  async readAgain(olderKey: string): Promise<void> {
    if (!this.text.hasUnread) return;
    await this.text.load(olderKey, (content) => void (this.kept = mergeKept(parseKept(content), this.kept)));
    for (const time of Object.values(this.kept.times)) this.clock.observe(time);
    this.keep();
  }

  /** The answers that the service has not acknowledged. */
  get unsaved(): Dict<AnswerChange> {
    return { ...answersOf(this.kept.sent?.changes ?? {}), ...answersOf(this.kept.unsent) };
  }

  get isEmpty(): boolean {
    return Object.keys(this.unsaved).length === 0;
  }

  /** The user and the quiz of the answers; null if they are not known. */
  get assignment(): Assignment | null {
    const { user_id, quiz_id } = this.kept;
    return user_id === null || quiz_id === null ? null : { user_id, quiz_id };
  }

  /** Returns whether the answers are of this user and quiz; those without a user have not been sent yet. */
  belongsTo({ user_id, quiz_id }: Assignment): boolean {
    return this.kept.user_id === null || (this.kept.user_id === user_id && this.kept.quiz_id === quiz_id);
  }

  /**
   * Adds an answer that was given at a time of the logical clock; `seen` is the one that the service had, as far as is
   * known. Ignores an answer that is older than another one to the question, or is the same one again. An answer of an
   * earlier attempt is lost, and its completion is ignored.
   */
  add({ question, answer, seen, time, session }: Entry, ended: boolean): void {
    const { sent, unsent, saved, times, refused, lost, past } = this.kept;
    if (session && past.includes(session)) {
      if (question !== null && !Object.hasOwn(times, question)) lost[question] = answer;
      return;
    }
    if (question === null) {
      this.kept.completing = !ended;
      return;
    }
    this.clock.observe(time);
    if (time <= (times[question] ?? -1)) return;
    times[question] = time;
    if (ended) {
      lost[question] = answer;
      return;
    }
    delete refused[question];
    delete lost[question];
    const sentBefore = sent && Object.hasOwn(sent.changes, question) ? sent.changes[question] : undefined;
    // Another tab of this device may have saved an answer since the learner saw the stored one.
    const known = sentBefore ? sentBefore.answer : Object.hasOwn(saved, question) ? saved[question]! : seen;
    unsent[question] = { answer, seen: unsent[question] ? unsent[question].seen : known };
  }

  /** Returns what the service has not acknowledged, for the outbox of another tab. */
  get entries(): Entry[] {
    const { unsaved } = this;
    const { sent, unsent, times, completing, id: session } = this.kept;
    const changes = Object.entries({ ...unsent, ...sent?.changes });
    const entries: Entry[] = changes.map(([question, { seen }]) => {
      // An answer of another device, which a new attempt has taken over, has no time: each other one is later.
      return { question, answer: unsaved[question]!, seen, time: times[question] ?? 0, session };
    });
    return completing ? [...entries, { question: null, answer: null, seen: null, time: 0, session }] : entries;
  }

  /** Returns the write in flight, or makes one and emits what was merged; null if no answer can be merged. */
  async nextWrite(session: Session, merger: Merger, unmerged: Set<string>, emit: Emit): Promise<Write | null> {
    if (this.kept.sent) return this.kept.sent;
    const changes: Changes = dict();
    const taken: Changes = dict();
    let size = 0;
    for (const [question, change] of Object.entries(this.kept.unsent)) {
      if (unmerged.has(question)) continue;
      const added = sizeOf({ [question]: change.answer });
      const count = Object.keys(changes).length;
      if (count === this.batch || (count > 0 && size + added > MAX_BYTES)) break;
      const theirs = answerIn(session.answers, question);
      const merged = await merger.change(question, change, theirs);
      if (!merged) unmerged.add(question);
      else [changes[question], taken[question], size] = [merged, change, size + added];
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
   * Adopts the id, the user, the quiz and the version of a session of the service.
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

  /** Halves a refused write until the answer that causes the refusal is found; returns it, unless it was corrected. */
  refuse(): Dict<AnswerChange> {
    const answers = answersOf(this.kept.sent?.changes ?? {});
    this.shrink();
    const refused: Dict<AnswerChange> = dict();
    for (const [question, answer] of Object.entries(answers)) {
      if (Object.keys(answers).length > 1 || !same(this.kept.unsent[question]!.answer, answer)) continue;
      refused[question] = answer;
      delete this.kept.unsent[question];
    }
    Object.assign(this.kept.refused, refused);
    return { ...refused };
  }

  /** Collects the answers that came too late: a write whose reply was lost may have been applied. */
  end(stored: Dict<AnswerChange>): void {
    this.requeue();
    for (const [question, answer] of Object.entries(this.unsaved)) {
      if (!same(answerIn(stored, question), answer)) this.kept.lost[question] = answer;
    }
    Object.assign(this.kept, { unsent: dict(), saved: dict(), completing: false });
  }

  /** Puts the answers that came after the end back, because the session runs again. */
  reopen(): void {
    const { times, unsent, sent, lost } = this.kept;
    for (const [question, answer] of Object.entries(lost)) {
      // Those of an earlier attempt have no time.
      if (!Object.hasOwn(times, question)) continue;
      delete lost[question];
      const isSent = sent !== null && Object.hasOwn(sent.changes, question);
      if (!isSent && !Object.hasOwn(unsent, question)) unsent[question] = { answer, seen: null };
    }
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
    const { kept } = this;
    const answers = { ...this.unsaved, ...kept.refused, ...kept.lost };
    const { received, past, id } = kept;
    // Before the store is asked: an answer that is given meanwhile belongs to the next attempt.
    this.kept = { ...nothingKept(), received, past: (id ? [...past, id] : past).slice(-MAX_PAST) };
    if (Object.keys(answers).length === 0) return true;
    return this.text.moveAside(JSON.stringify(kept), () => this.putBack(kept));
  }

  /** Takes content back that could not be moved, with the answers that were given meanwhile. */
  private putBack(kept: Kept): void {
    const { entries } = this;
    this.kept = kept;
    for (const entry of entries) this.add(entry, false);
    this.keep();
  }

  /** Writes the content; `text.written` resolves afterwards. */
  keep(): void {
    this.text.write(JSON.stringify(this.kept));
  }
}
