/** A text in a store: written in order, and never over content that could not be read. */
import type { LimitedStore } from "./limits.js";
import { makeKey } from "./request.js";
import { isPromise, settle } from "./stores.js";

export class StoredText {
  /** Whether the content is in memory only. */
  failed = false;
  /** The key to which content was moved that could not be used. */
  setAside: string | null = null;
  /** Resolves when the content is written, or the store has failed; it is never rejected. */
  written: Promise<void> = Promise.resolve();
  /** Whether the store has content that is not in memory, and is never overwritten. */
  hasUnread = false;
  /** Whether another tab uses the text: this one writes nothing any more. */
  isDetached = false;
  private content: string | null = null; // to be written
  private writing = false;
  private moving: Promise<unknown> | null = null; // content that is moved aside

  /** `changed` is called when a store that returns promises has written the content, or has failed. */
  constructor(
    private store: LimitedStore,
    private key: string,
    private changed: () => void,
  ) {}

  /** Whether the store has the present content. */
  get isWritten(): boolean {
    return !this.failed && !this.writing;
  }

  /**
   * Passes the stored content, else that of `olderKey`, to `parse`; moves it aside if `parse` throws. Returns a promise
   * if the store does. It can be called again as long as the content is unread.
   */
  load(olderKey: string, parse: (content: string) => void): void | Promise<void> {
    const read = (key: string, otherwise: () => boolean | Promise<boolean>): boolean | Promise<boolean> =>
      settle(
        () => this.store.getItem(key),
        (content) => (content === null ? otherwise() : this.accept(content, parse)),
        () => false,
      );
    return settle(
      () => read(this.key, () => read(olderKey, () => true)),
      (isRead) => {
        if (this.hasUnread || !isRead) this.hasUnread = this.failed = !isRead;
      },
    );
  }

  /** Writes the content; `written` resolves afterwards. */
  write(content: string): void {
    if (this.isDetached) return;
    this.content = content;
    if (this.hasUnread) this.failed = true;
    else if (!this.writing) this.written = this.writeAll();
  }

  detach(): void {
    this.isDetached = true;
    this.content = null;
  }

  /**
   * Stores the content under another key, and returns whether that worked; calls `failed` otherwise. Nothing is written
   * before that: the store has the only copy.
   */
  moveAside(content: string, failed: () => void = () => undefined): boolean | Promise<boolean> {
    const key = `${this.key}.${makeKey()}`;
    const moved = settle(
      () => this.put(key, content),
      (done) => {
        this.moving = null;
        if (done) this.setAside = key;
        else {
          this.failed = true;
          failed();
        }
        return done;
      },
    );
    if (isPromise(moved)) this.moving = moved;
    return moved;
  }

  /** Returns whether the content was parsed or moved aside. */
  private accept(content: string, parse: (content: string) => void): boolean | Promise<boolean> {
    try {
      parse(content);
      return true;
    } catch {
      return this.moveAside(content);
    }
  }

  private async writeAll(): Promise<void> {
    this.writing = true;
    let waited = false;
    while (this.content !== null) {
      if (this.moving) {
        await this.moving;
        waited = true;
        continue;
      }
      const content = this.content;
      this.content = null;
      const written = this.put(this.key, content);
      waited ||= typeof written !== "boolean";
      this.failed = !(typeof written === "boolean" ? written : await written);
    }
    this.writing = false;
    if (waited && !this.isDetached) this.changed();
  }

  /** Returns whether the store has taken the content; a full store, or one that is switched off, has not. */
  private put(key: string, content: string): boolean | Promise<boolean> {
    return settle(
      () => this.store.setItem(key, content),
      () => true,
      () => false,
    );
  }
}
