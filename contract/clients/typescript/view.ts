/** View of an attempt: its state and its events. */
import type { AnswerChange } from "./client.js";
import { secondsUntil, since, type ServiceTime } from "./clocks.js";
import type { AttemptEvent } from "./events.js";
import type { Inbox } from "./inbox.js";
import type { Dict } from "./json.js";
import type { State } from "./published.js";
import type { Session } from "./schema.js";

export abstract class View {
  protected abstract inbox: Inbox;
  private listeners = new Set<(event: AttemptEvent) => void>();

  /** The state of the tab that owns the attempt; null if it is not known yet. */
  protected abstract get state(): State | null;

  /** The service's time, by the clocks of this tab. */
  protected abstract get time(): ServiceTime;

  /** The session of the last reply; null before the first. */
  get session(): Session | null {
    return this.state?.session ?? null;
  }

  /** Whether the attempt was completed, or its time is over. */
  get ended(): boolean {
    return this.state?.ended ?? false;
  }

  /** Whether a teacher has paused the session: answers are kept, and sent when it is resumed. */
  get paused(): boolean {
    return this.session?.status === "paused";
  }

  /** Why the last call returned a wait; null after one that returned 0. */
  get problem(): string | null {
    return this.state?.problem ?? null;
  }

  /** The answers that the service has not acknowledged. */
  get unsaved(): Dict<AnswerChange> {
    return { ...this.state?.unsaved, ...this.inbox.answers };
  }

  /** The answers as the learner last gave them: the unsaved ones over those of the session. */
  get answers(): Dict<AnswerChange> {
    return { ...(this.session?.answers ?? this.state?.saved), ...this.unsaved };
  }

  /** Whether answers, or the completion, have still to be sent. */
  get pending(): boolean {
    const completing = this.state?.completing ?? false;
    return !this.ended && (completing || this.inbox.completes || Object.keys(this.unsaved).length > 0);
  }

  /** The answers that the service does not accept. */
  get refused(): Dict<AnswerChange> {
    return { ...this.state?.refused };
  }

  /** The answers that came after the end. */
  get lost(): Dict<AnswerChange> {
    return { ...this.state?.lost };
  }

  /** Whether answers are in memory only, because the store cannot be written or read. */
  get storeFailed(): boolean {
    return (this.state?.storeFailed ?? false) || this.inbox.failed;
  }

  /** Whether the device has stored every answer that was given so far. */
  get stored(): boolean {
    return (this.state?.stored ?? true) && this.inbox.isWritten;
  }

  /** Calls the listener for each event, until the returned function is called. */
  on(listener: (event: AttemptEvent) => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  /** Returns the seconds until the learner's time is over, never too many; Infinity without an end. A pause stops them. */
  secondsLeft(): number {
    if (this.ended || !this.session) return 0;
    const { expires_at, paused_at } = this.session;
    if (!this.paused || !expires_at || !paused_at) return this.secondsUntil(expires_at);
    return Math.max(0, (Date.parse(expires_at) - Date.parse(paused_at)) / 1000);
  }

  /** Returns the seconds until a time of the service, at least 0; Infinity for null. */
  secondsUntil(time: string | null): number {
    return secondsUntil(time, this.time);
  }

  /** Returns the seconds since the last reply with the session, by the time of its request. */
  secondsSinceReply(): number {
    return since(this.time.at) / 1000;
  }

  protected notify(event: AttemptEvent): void {
    for (const listener of this.listeners) {
      try {
        listener(event);
      } catch (error) {
        console.error(error); // a listener's fault stops no save
      }
    }
  }
}
