/** The inbox: answers of tabs that do not own the attempt, until the tab that owns it has received them. */
import type { AnswerChange } from "./client.js";
import type { LogicalClock } from "./clocks.js";
import { dict, isObject, type Dict } from "./json.js";
import type { LimitedStore } from "./limits.js";
import type { Outbox } from "./outbox.js";
import { settle } from "./stores.js";

/**
 * An answer that was given at a time of the logical clock; `seen` is the stored one that the learner saw, `session` the
 * id of the session that it was given in, null if that was not known. Without a question: the learner hands in.
 */
export type Entry = {
  question: string | null;
  answer: AnswerChange;
  seen: AnswerChange;
  time: number;
  session: string | null;
};
export type Entries = [key: string, entry: Entry][];
/** An entry whose time is not known yet. */
export type NewEntry = Omit<Entry, "time"> & { time?: number };

/** The outbox with its sender, which knows whether the attempt has ended. */
type Receiver = { readonly outbox: Outbox; add(entry: Entry): void };

/** Each entry has a key of its own: one tab writes it, and the owner removes it. */
export class Inbox {
  /** The entries of this tab that the owner has not acknowledged yet. */
  private own = new Map<string, { entry: NewEntry; state: "new" | "stored" | "failed" }>();
  private count = 0;
  /** Resolves once the clock has seen the times in the store; undefined afterwards. */
  reading: Promise<void> | undefined;

  constructor(
    private store: LimitedStore,
    private prefix: string,
    private tab: string,
    private clock: LogicalClock,
  ) {}

  /** Sets the clock by the stored times: those of the entries, and those that `others` reads. No entry is written before. */
  start(others: () => Promise<number[]>): void {
    const read = async (): Promise<void> => {
      try {
        for (const time of await others()) this.clock.observe(time);
        for (const key of await this.store.keys(this.prefix)) {
          this.clock.observe(parseEntry(await this.store.getItem(key))?.time ?? 0);
        }
      } catch {
        // The store cannot be read now: the date has to do.
      }
      this.setTimes();
      this.reading = undefined;
    };
    this.reading = read();
  }

  /** Sets the time of the entries that have none yet: the clock has seen the times of earlier answers. */
  private setTimes(): void {
    for (const { entry } of this.own.values()) entry.time ??= this.clock.next();
  }

  /** The answers of this tab that the owner has not acknowledged yet. */
  get answers(): Dict<AnswerChange> {
    const answers: Dict<AnswerChange> = dict();
    for (const { entry } of this.own.values()) if (entry.question !== null) answers[entry.question] = entry.answer;
    return answers;
  }

  /** Whether the learner hands in with this tab, which the owner has not acknowledged yet. */
  get completes(): boolean {
    return [...this.own.values()].some(({ entry }) => entry.question === null);
  }

  /** Whether entries of this tab are in memory only, because the store cannot be written. */
  get failed(): boolean {
    return [...this.own.values()].some(({ state }) => state === "failed");
  }

  /** Whether the store has every entry of this tab. */
  get isWritten(): boolean {
    return [...this.own.values()].every(({ state }) => state === "stored");
  }

  /** The entries that only this tab has. */
  get unwritten(): Entries {
    const failed = [...this.own].filter(([, { state }]) => state === "failed");
    return failed.map(([key, { entry }]) => [key, entry as Entry]); // written once, with its time
  }

  /** Adds an entry; resolves once it is stored, if the store is shared, or the store has failed. */
  put(entry: NewEntry, isShared: boolean): void | Promise<void> {
    const key = `${this.prefix}${this.tab}.${this.count++}`;
    this.own.set(key, { entry: { ...entry }, state: "new" });
    if (!isShared) return; // the outbox is still being loaded, and gets it from memory
    if (this.reading) return this.reading.then(() => this.write(key));
    this.setTimes();
    return this.write(key);
  }

  /** Writes the entries that could not be written before. */
  async retry(): Promise<void> {
    for (const [key] of this.unwritten) await this.write(key);
  }

  /** Forgets entries of this tab that the owner has acknowledged. */
  forget(keys: readonly string[]): void {
    for (const key of keys) this.own.delete(key);
  }

  /** Moves this tab's entries to the outbox, which it owns now. */
  moveOwn(receiver: Receiver): void {
    this.setTimes();
    for (const { entry } of this.own.values()) receiver.add(entry as Entry);
    this.own.clear();
  }

  /**
   * Moves the entries of all tabs to the outbox. `received` is called with their keys, which their tabs can forget, before
   * the entries are removed: this tab may be closed in between.
   */
  async moveAll(receiver: Receiver, received: (keys: string[]) => void): Promise<void> {
    const { outbox } = receiver;
    const moved: string[] = [];
    try {
      const keys = await this.store.keys(this.prefix);
      for (const key of keys) {
        if (outbox.kept.received.includes(key)) continue;
        const entry = parseEntry(await this.store.getItem(key));
        if (entry) receiver.add(entry);
        outbox.kept.received.push(key);
        moved.push(key);
      }
      outbox.kept.received = outbox.kept.received.filter((key) => keys.includes(key));
    } catch {
      // The store cannot be read now: the entries stay in it.
    }
    // Another tab owns the attempt: it reads the entries itself.
    if (outbox.text.isDetached) return;
    const own = this.own.size;
    this.moveOwn(receiver);
    if (moved.length + own > 0) outbox.keep();
    await outbox.text.written;
    // Those of an earlier owner, too.
    const keys = [...new Set([...moved, ...outbox.kept.received])];
    if (keys.length > 0) received(keys);
    if (!outbox.text.failed) await this.removeReceived(outbox);
  }

  /** Removes entries that are stored in the outbox; those that cannot be removed are not received again. */
  private async removeReceived(outbox: Outbox): Promise<void> {
    for (const key of [...outbox.kept.received]) {
      if (outbox.text.isDetached) return;
      try {
        await this.store.removeItem(key);
        outbox.kept.received = outbox.kept.received.filter((other) => other !== key);
      } catch {
        // The next call tries again.
      }
    }
  }

  private write(key: string): void | Promise<void> {
    const own = this.own.get(key);
    if (!own) return;
    return settle(
      () => this.store.setItem(key, JSON.stringify(own.entry)),
      () => void (own.state = "stored"),
      () => void (own.state = "failed"),
    );
  }
}

/** Returns the entry in a stored text; null if there is none, which a tab cannot have written. */
function parseEntry(content: string | null): Entry | null {
  try {
    const entry: unknown = JSON.parse(content ?? "null");
    return isEntry(entry) ? { ...entry, session: entry.session ?? null } : null;
  } catch {
    return null;
  }
}

/** Returns whether a value has the shape of an entry. */
export function isEntry(value: unknown): value is Entry {
  if (!isObject(value) || typeof value["time"] !== "number" || !("answer" in value && "seen" in value)) return false;
  return value["question"] === null || typeof value["question"] === "string";
}
