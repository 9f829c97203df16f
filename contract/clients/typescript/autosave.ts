/** Autosave: opens an attempt and sends its answers in the background, for as long as a page shows it. */
import type { Attempt } from "./attempt.js";
import type { Session } from "./schema.js";

// Problems that may be over when the network is back, and those in which further answers can be sent.
const OFFLINE = ["NO_REPLY"];
const DEBOUNCE = 500; // milliseconds
const JITTER = 2_000; // milliseconds; all learners of a school may be online again at the same moment
const AFTER_FAULT = 30; // seconds
// Seconds after the last reply with the session, at which it is read again: a teacher may have changed its time.
const [READ_RUNNING, READ_PAUSED, READ_ENDED] = [30, 5, 60];
const READY: (string | null)[] = [null, "UNDECIDED"];

/** One run of Autosave, from `start` to `stop`. */
class Run {
  private stopped = false;
  private opened = false;
  private wake: () => void = () => undefined;

  constructor(
    private attempt: Attempt,
    private open: () => Promise<number>,
  ) {}

  async untilStopped(): Promise<void> {
    while (!this.stopped) {
      let wait: number;
      try {
        wait = await this.step();
      } catch (error) {
        console.error(error); // a fault of the program, which stops no later save
        wait = AFTER_FAULT;
      }
      if (wait) await this.sleep(wait);
      else if (this.attempt.pending) await this.sleep(1);
      else if (this.opened) await this.untilDue();
    }
  }

  stop(): void {
    this.stopped = true;
    this.wake();
  }

  reopen(): void {
    this.opened = false;
    this.wakeIf(this.attempt.problem === null);
  }

  wakeIf(may: boolean): void {
    if (may) this.wake();
  }

  /** Opens the attempt, or sends what is to be sent; returns the seconds to wait. */
  private async step(): Promise<number> {
    const { attempt } = this;
    if (this.opened) {
      // A learner who is typing changes an answer with each key.
      await new Promise((resolve) => setTimeout(resolve, DEBOUNCE));
      const wait = await attempt.flush();
      // The tab that sends does not know the user and the quiz.
      if (attempt.problem === "NOT_OPEN") this.opened = false;
      return wait;
    }
    this.opened = true;
    const wait = await this.open();
    if (wait) this.opened = false;
    return wait;
  }

  /** Waits until there is something to send, or until the session is to be read again. */
  private async untilDue(): Promise<void> {
    const { attempt } = this;
    if (!attempt.session) {
      await this.sleep(1);
      this.opened = false;
      return;
    }
    const interval = attempt.ended ? READ_ENDED : attempt.paused ? READ_PAUSED : READ_RUNNING;
    const next = interval * (1 + Math.random() / 2) - attempt.secondsSinceReply();
    await this.sleep(Math.max(0, Math.min(next, this.secondsUntilEnd(attempt.session))));
    const isOver = !attempt.ended && attempt.secondsLeft() === 0;
    // Another tab may have read it meanwhile.
    const isDue = isOver || attempt.secondsSinceReply() >= interval;
    if (!attempt.session || (isDue && !attempt.pending)) this.opened = false;
  }

  /** Returns the seconds until a moment after the next end, or after the last one, which may have been moved. */
  private secondsUntilEnd({ expires_at, closes_at }: Session): number {
    const { attempt } = this;
    if (attempt.ended || attempt.paused) return Infinity;
    const ends = [expires_at, closes_at].map((time) => attempt.secondsUntil(time));
    const next = Math.max(...ends) > 0 ? Math.min(...ends.filter((seconds) => seconds > 0)) : 5;
    // Learners whose time ends together do not ask together.
    return next + 1 + 2 * Math.random();
  }

  /** Waits for so many seconds, or until it is woken. */
  private sleep(seconds: number): Promise<void> {
    return new Promise((resolve) => {
      if (this.stopped) return resolve();
      const timer = Number.isFinite(seconds) ? setTimeout(resolve, seconds * 1000) : undefined;
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** Keeps an attempt open and its answers saved, from `start` to `stop`; what happens is an event of the attempt. */
export class Autosave {
  private run: Run | null = null;
  private notBefore = 0; // the time that the service asked for, by the steady clock

  /** Prepares to open the attempt of this user and quiz; `anew` also after one has ended. */
  constructor(
    private attempt: Attempt,
    private assignment: { user_id: string; quiz_id: number | string },
    private options: { anew?: boolean } = {},
  ) {}

  start(): void {
    if (this.run) return;
    const { attempt } = this;
    const run = (this.run = new Run(attempt, () => this.open()));
    const changed = attempt.on((event) => {
      if (event.type === "waiting") this.notBefore = performance.now() + event.retryAfter * 1000;
      // A tab that has just taken the attempt over has no session.
      run.wakeIf((attempt.pending || !attempt.session) && READY.includes(attempt.problem));
    });
    const online = (): void => {
      setTimeout(() => run.wakeIf(this.maySend && OFFLINE.includes(attempt.problem ?? "")), JITTER * Math.random());
    };
    const seen = (): void => {
      // The page may not run again: what is sent now goes on without it. Once visible, the end may have moved.
      if (document.visibilityState !== "hidden") run.reopen();
      else if (this.maySend) void attempt.flush();
    };
    const page = typeof document === "undefined" ? null : document;
    page?.addEventListener("visibilitychange", seen);
    if (page) globalThis.addEventListener("online", online);
    void run.untilStopped().finally(() => {
      changed();
      page?.removeEventListener("visibilitychange", seen);
      if (page) globalThis.removeEventListener("online", online);
    });
  }

  stop(): void {
    this.run?.stop();
    this.run = null;
  }

  /** Reads the session again, now or after the present wait: its end may have been changed. */
  reopen(): void {
    this.run?.reopen();
  }

  private async open(): Promise<number> {
    const wait = await this.attempt.open(this.assignment.user_id, this.assignment.quiz_id, this.options);
    if (!wait) this.options = {};
    return wait;
  }

  /** Whether the wait that the service asked for is over. */
  private get maySend(): boolean {
    return performance.now() >= this.notBefore;
  }
}
