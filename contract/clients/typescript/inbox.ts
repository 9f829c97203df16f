/** The inbox: answers of tabs that do not own the attempt, until the tab that owns it takes them. */
import type { AnswerChange } from "./client.js";
import { dict, isObject, type Dict } from "./json.js";
import type { Outbox } from "./outbox.js";
import { keysOf, settle, type Store } from "./stores.js";

/** An answer that was given at a time, by the device's date; `seen` is the stored one that the learner saw. */
export type Entry = { question: string; answer: AnswerChange; seen: AnswerChange; time: number };

/** Each entry has a key of its own and never changes: one tab writes it, and the owner removes it. */
export class Inbox {
  /** The entries of this tab that the owner has not taken yet, and whether they are in the store. */
  private own = new Map<string, { entry: Entry; stored: boolean }>();
  private count = 0;
  private last = 0; // the time of this tab's last entry

  constructor(
    private store: Store,
    private prefix: string,
    private tab: string,
  ) {}

  /** The answers of this tab that the owner has not taken yet. */
  get answers(): Dict<AnswerChange> {
    const answers: Dict<AnswerChange> = dict();
    for (const { entry } of this.own.values()) answers[entry.question] = entry.answer;
    return answers;
  }

  /** Adds an answer; resolves once it is stored, if the store is shared, or the store has failed. */
  put(question: string, answer: AnswerChange, seen: AnswerChange, isShared: boolean): void | Promise<void> {
    const key = `${this.prefix}${this.tab}.${this.count++}`;
    // Of two answers in one millisecond the later one has the later time; the date may be set back.
    this.last = Math.max(this.last + 0.001, Date.now());
    const own = { entry: { question, answer, seen, time: this.last }, stored: false };
    this.own.set(key, own);
    if (!isShared) return; // the outbox is still being loaded, and takes it from memory
    return settle(
      () => this.store.setItem(key, JSON.stringify(own.entry)),
      () => void (own.stored = true),
      () => undefined,
    );
  }

  /** Forgets entries of this tab that the owner has taken. */
  forget(keys: readonly string[]): void {
    for (const key of keys) this.own.delete(key);
  }

  /** Moves this tab's entries to the outbox, which it owns now. */
  moveOwn(add: (entry: Entry) => void): void {
    for (const { entry } of this.own.values()) add(entry);
    this.own.clear();
  }

  /** Moves the entries of all tabs to the outbox; returns their keys. */
  async moveAll(outbox: Outbox, add: (entry: Entry) => void): Promise<string[]> {
    const keys = await keysOf(this.store, this.prefix);
    for (const [key, { stored }] of this.own) if (stored && !keys.includes(key)) this.own.delete(key); // taken
    for (const key of keys) {
      const entry = parseEntry(await this.store.getItem(key));
      if (entry) add(entry);
      this.own.delete(key);
    }
    const others = this.own.size;
    this.moveOwn(add);
    if (keys.length + others === 0) return [];
    outbox.keep();
    await outbox.stored;
    if (outbox.storeFailed) return [];
    for (const key of keys) await this.store.removeItem?.(key);
    return keys;
  }
}

/** Returns the entry in a stored text; null if there is none, which a tab cannot have written. */
function parseEntry(content: string | null): Entry | null {
  try {
    const entry: unknown = JSON.parse(content ?? "null");
    const fits = isObject(entry) && typeof entry["question"] === "string" && typeof entry["time"] === "number";
    return fits && "answer" in entry && "seen" in entry ? (entry as Entry) : null;
  } catch {
    return null;
  }
}
