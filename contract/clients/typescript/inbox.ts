/** The inbox: answers of tabs that do not own the attempt, until the tab that owns it takes them. */
import type { AnswerChange } from "./client.js";
import { dict, isObject, type Dict } from "./json.js";
import type { Outbox } from "./outbox.js";
import { keysOf, settle, type Store } from "./stores.js";

/**
 * An answer that was given at a time, by the device's date; `seen` is the stored one that the learner saw. Without a
 * question: the learner hands in.
 */
export type Entry = { question: string | null; answer: AnswerChange; seen: AnswerChange; time: number };

/** Each entry has a key of its own and never changes: one tab writes it, and the owner removes it. */
export class Inbox {
  /** The entries of this tab that the owner has not taken yet. */
  private own = new Map<string, { entry: Entry; state: "new" | "stored" | "failed" }>();
  private count = 0;
  private last = 0; // the time of this tab's last entry

  constructor(
    private texts: Store,
    private prefix: string,
    private tab: string,
  ) {}

  /** The answers of this tab that the owner has not taken yet. */
  get answers(): Dict<AnswerChange> {
    const answers: Dict<AnswerChange> = dict();
    for (const { entry } of this.own.values()) if (entry.question !== null) answers[entry.question] = entry.answer;
    return answers;
  }

  /** Whether the learner hands in with this tab, which the owner has not noticed yet. */
  get completes(): boolean {
    return [...this.own.values()].some(({ entry }) => entry.question === null);
  }

  /** Whether entries of this tab are in memory only, because the store cannot be written. */
  get failed(): boolean {
    return [...this.own.values()].some(({ state }) => state === "failed");
  }

  /** Adds an answer; resolves once it is stored, if the store is shared, or the store has failed. */
  put(question: string | null, answer: AnswerChange, seen: AnswerChange, isShared: boolean): void | Promise<void> {
    const key = `${this.prefix}${this.tab}.${this.count++}`;
    // Of two answers in one millisecond the later one has the later time; the date may be set back.
    this.last = Math.max(this.last + 0.001, Date.now());
    this.own.set(key, { entry: { question, answer, seen, time: this.last }, state: "new" });
    if (isShared) return this.write(key); // else the outbox is still being loaded, and takes it from memory
  }

  /** Writes the entries that could not be written before. */
  async store(): Promise<void> {
    for (const [key, { state }] of this.own) if (state === "failed") await this.write(key);
  }

  private write(key: string): void | Promise<void> {
    const own = this.own.get(key)!;
    return settle(
      () => this.texts.setItem(key, JSON.stringify(own.entry)),
      () => void (own.state = "stored"),
      () => void (own.state = "failed"),
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
    let keys: string[] = [];
    try {
      keys = await keysOf(this.texts, this.prefix);
      for (const [key, { state }] of this.own) {
        if (state === "stored" && !keys.includes(key)) this.own.delete(key); // taken by the owner before
      }
    } catch {
      // The entries in memory can be taken all the same.
    }
    for (const key of keys) {
      const entry = parseEntry(await this.texts.getItem(key));
      if (entry) add(entry);
      this.own.delete(key);
    }
    const others = this.own.size;
    this.moveOwn(add);
    if (keys.length + others === 0) return [];
    outbox.keep();
    await outbox.stored;
    if (outbox.storeFailed) return [];
    for (const key of keys) await this.texts.removeItem?.(key);
    return keys;
  }
}

/** Returns the entry in a stored text; null if there is none, which a tab cannot have written. */
function parseEntry(content: string | null): Entry | null {
  try {
    const entry: unknown = JSON.parse(content ?? "null");
    const fits = isObject(entry) && (entry["question"] === null || typeof entry["question"] === "string") && typeof entry["time"] === "number";
    return fits && "answer" in entry && "seen" in entry ? (entry as Entry) : null;
  } catch {
    return null;
  }
}
