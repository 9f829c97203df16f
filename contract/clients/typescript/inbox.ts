/** The inbox: answers of tabs that do not own the attempt, until the tab that owns it takes them. */
import type { AnswerChange } from "./client.js";
import { dict, type Dict } from "./json.js";
import type { Outbox } from "./outbox.js";
import { keysOf, settle, type Store } from "./stores.js";

type Entry = { question: string; answer: AnswerChange; seen: AnswerChange; at: number };

/** Each entry has a key of its own and never changes: one tab writes it, and the owner removes it. */
export class Inbox {
  /** The entries of this tab that the owner has not taken yet. */
  private own = new Map<string, Entry>();
  private count = 0;

  constructor(
    private store: Store,
    private prefix: string,
    private tab: string,
  ) {}

  /** The answers of this tab that the owner has not taken yet. */
  get answers(): Dict<AnswerChange> {
    const answers: Dict<AnswerChange> = dict();
    for (const { question, answer } of this.own.values()) answers[question] = answer;
    return answers;
  }

  /** Adds an answer; returns whether the store has it. */
  put(question: string, answer: AnswerChange, seen: AnswerChange, isShared: boolean): boolean | Promise<boolean> {
    const key = `${this.prefix}${this.tab}.${this.count++}`;
    const entry = { question, answer, seen, at: Date.now() };
    this.own.set(key, entry);
    if (!isShared) return false; // the outbox is still being loaded, and takes it from memory
    return settle(
      () => this.store.setItem(key, JSON.stringify(entry)),
      () => true,
      () => false,
    );
  }

  /** Forgets entries of this tab that the owner has taken. */
  forget(keys: readonly string[]): void {
    for (const key of keys) this.own.delete(key);
  }

  /** Moves this tab's entries to the outbox, which it owns now. */
  moveOwn(add: (entry: Entry) => void): void {
    for (const entry of this.own.values()) add(entry);
    this.own.clear();
  }

  /** Moves the entries of all tabs to the outbox; returns their keys. */
  async moveAll(outbox: Outbox, add: (entry: Entry) => void): Promise<string[]> {
    const keys = await keysOf(this.store, this.prefix);
    const entries: { key: string; entry: Entry }[] = [];
    for (const key of keys) {
      const content = await this.store.getItem(key);
      if (content !== null) entries.push({ key, entry: JSON.parse(content) as Entry });
    }
    entries.sort((one, other) => one.entry.at - other.entry.at);
    for (const { key, entry } of entries) if (!this.own.has(key)) add(entry);
    this.moveOwn(add);
    if (entries.length === 0) return [];
    outbox.keep();
    await outbox.stored;
    if (outbox.storeFailed) return [];
    for (const { key } of entries) await this.store.removeItem?.(key);
    return entries.map(({ key }) => key);
  }
}
