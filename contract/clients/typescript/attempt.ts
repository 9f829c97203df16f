/** A learner's attempt at a quiz: keeps answers on the device until the service has them. */
import type { AttemptEvent } from "./events.js";
import { Inbox, type Entry } from "./inbox.js";
import type { AnswerChange, SessionService } from "./client.js";
import { answerIn, canonicalId, copyOf, type Dict } from "./json.js";
import type { Owner } from "./kept.js";
import { Outbox, type Merge } from "./outbox.js";
import { readClocks, type Clocks } from "./request.js";
import type { Session } from "./schema.js";
import { Sender } from "./sender.js";
import { isShared, settle, type Store } from "./stores.js";
import { Tabs, type Call } from "./tabs.js";

export type Options = {
  /** Returns a token for the service. It is called before the first request and after a 401. */
  token?: () => string | Promise<string>;
};

/** What the tab that owns an attempt tells the others. */
type State = Pick<Attempt, "session" | "ended" | "problem" | "unsaved" | "refused" | "lost" | "storeFailed"> & {
  completing: boolean;
  now: number;
  date: number;
};
type Told = { state: State; event: AttemptEvent; taken: string[] };
const keepMine: Merge = (_question, mine) => mine;

export class Attempt {
  private tabs: Tabs;
  private inbox: Inbox;
  private loaded: Sender | null = null; // of the tab that owns the attempt, or has owned it
  private told: State | null = null; // by the tab that owns the attempt
  private toldClock = { now: Date.now(), at: readClocks() };
  private listeners = new Set<(event: AttemptEvent) => void>();
  private queue: Promise<unknown> = Promise.resolve();
  private flushing: Promise<number> | null = null;
  private ready: Promise<void> = Promise.resolve(); // resolves once this tab's outbox is loaded, if it has one
  private shared: boolean;
  private bearer: string | null = null;
  private owner: Owner | null = null; // of the last `open`
  private notBefore = 0; // the time of the next request, by the device's date

  /**
   * Loads the store; the attempt's keys in it begin with `name`. `merge` chooses the answer to a question that another
   * device has changed: without one, this device's answer.
   */
  constructor(
    public client: SessionService,
    private store: Store,
    private name: string,
    private merge: Merge = keepMine,
    private options: Options = {},
  ) {
    this.shared = isShared(store);
    this.tabs = new Tabs(name, {
      own: () => (this.ready = Promise.resolve(this.own())),
      run: (call) => this.runFor(call),
      follow: (told) => this.follow(told as Told),
      joined: () => this.tell({ type: "changed" }, []),
      answered: () => void this.runFor({ method: "flush", parameters: [] }),
    });
    this.inbox = new Inbox(store, `${name}.inbox.`, this.tabs.tab);
    if (this.shared) this.tabs.join();
    else this.tabs.own();
  }

  /** The sender, if this tab owns the attempt and the store is loaded. */
  private get sender(): Sender | null {
    return this.tabs.isOwner ? this.loaded : null;
  }

  /** The session of the last reply; null before the first. */
  get session(): Session | null {
    return (this.sender ?? this.told)?.session ?? null;
  }

  /** Whether the attempt was completed, or its time is over. */
  get ended(): boolean {
    return (this.sender ?? this.told)?.ended ?? false;
  }

  /** Why the last call returned a wait; null after one that returned 0. */
  get problem(): string | null {
    return (this.sender ?? this.told)?.problem ?? null;
  }

  /** The answers that the service has not acknowledged. */
  get unsaved(): Dict<AnswerChange> {
    return { ...(this.sender?.outbox ?? this.told)?.unsaved, ...this.inbox.answers };
  }

  /** The answers as the learner last gave them: the unsaved ones over those of the session. */
  get answers(): Dict<AnswerChange> {
    return { ...(this.session?.answers ?? this.sender?.outbox.kept.saved), ...this.unsaved };
  }

  /** Whether answers, or the completion, have still to be sent. */
  get pending(): boolean {
    const completing = (this.sender?.outbox.kept ?? this.told)?.completing ?? false;
    return !this.ended && (completing || this.inbox.completes || Object.keys(this.unsaved).length > 0);
  }

  /** The answers that the service does not accept. */
  get refused(): Dict<AnswerChange> {
    return { ...(this.sender?.outbox.kept ?? this.told)?.refused };
  }

  /** The answers that came after the end. */
  get lost(): Dict<AnswerChange> {
    return { ...(this.sender?.outbox.kept ?? this.told)?.lost };
  }

  /** Whether answers are in memory only, because the store cannot be written or read. */
  get storeFailed(): boolean {
    return ((this.sender?.outbox ?? this.told)?.storeFailed ?? false) || (this.shared && this.inbox.failed);
  }

  /** The name to which unreadable content, or that of another attempt, was moved. */
  get setAside(): string | null {
    return this.sender?.outbox.setAside ?? null;
  }

  /** Calls the listener for each event, until the returned function is called. */
  on(listener: (event: AttemptEvent) => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  /** Continues the user's attempt at the quiz, or starts one; with `anew` also after one has ended. */
  open(user_id: string, quiz_id: number | string, { anew = false } = {}): Promise<number> {
    const owner = { user_id, quiz_id: canonicalId(quiz_id) };
    this.owner = owner;
    return this.inTurn({ method: "open", parameters: [user_id, quiz_id, { anew }] }, (sender) => sender.open(owner, anew));
  }

  /**
   * Keeps an answer for the next flush; null clears the answer. The returned promise resolves once the device has it
   * stored, or `storeFailed` is true. Throws if it is not JSON.
   */
  answer(question: number | string, answer: AnswerChange): Promise<void> {
    const copy = copyOf(answer); // a list that its owner changes later must not change a write that was sent
    const name = String(question);
    const seen = answerIn(this.session?.answers ?? this.sender?.outbox.kept.saved ?? {}, name);
    if (this.sender) {
      // The date may have been set back since the last answer.
      const time = Math.max(Date.now(), this.sender.outbox.kept.times[name] ?? 0);
      this.add({ question: name, answer: copy, seen, time });
      this.sender.outbox.keep();
      this.emit({ type: "changed" });
      return this.sender.outbox.stored;
    }
    const stored = this.inbox.put(name, copy, seen, this.shared);
    this.emit({ type: "changed" });
    return this.passOn(stored);
  }

  /** Sends every answer that is not saved yet; calls that overlap are one. */
  flush(): Promise<number> {
    this.flushing ??= this.inTurn({ method: "flush", parameters: [] }, async (sender) => {
      let wait = await sender.flush();
      while (!wait && sender.pending) wait = await sender.flush();
      return wait;
    }).finally(() => (this.flushing = null));
    return this.flushing;
  }

  /** Completes the attempt, after every answer was saved or refused; later flushes go on with it. */
  complete(): Promise<number> {
    if (this.sender) {
      this.add({ question: null, answer: null, seen: null, time: 0 });
      this.sender.outbox.keep();
    } else void this.passOn(this.inbox.put(null, null, null, this.shared));
    this.emit({ type: "changed" });
    return this.inTurn({ method: "flush", parameters: [] }, (sender) => sender.flush());
  }

  /** Returns the seconds until the learner's time is over, never too many; Infinity without an end. */
  secondsLeft(): number {
    return this.ended || !this.session ? 0 : this.secondsUntil(this.session.expires_at);
  }

  /** Returns the seconds until a time of the service, at least 0; Infinity for null. */
  secondsUntil(time: string | null): number {
    if (time === null) return Infinity;
    const { now, at } = this.clock();
    const clocks = readClocks();
    const elapsed = Math.max(clocks.steady - at.steady, clocks.date - at.date);
    return Math.max(0, (Date.parse(time) - now - elapsed) / 1000);
  }

  /** Stops using the store, once all is stored: another tab of the device, or another `Attempt`, may go on. */
  async close(): Promise<void> {
    await this.queue;
    await this.loaded?.outbox.stored;
    this.tabs.leave();
    this.loaded = null;
  }

  private clock(): { now: number; at: Clocks } {
    if (this.sender) return this.sender.clock;
    return this.toldClock;
  }

  /** Loads the outbox, as its only user; takes the answers that were given meanwhile. */
  private own(): void | Promise<void> {
    const outbox = new Outbox(this.store, this.name);
    return settle(
      () => outbox.load(),
      () => {
        const headers = (): { authorization?: string } =>
          this.bearer === null ? {} : { authorization: `Bearer ${this.bearer}` };
        this.loaded = new Sender(outbox, {
          client: () => this.client,
          merge: this.merge,
          emit: (event) => this.emit(event),
          mayWrite: () => this.sender?.outbox === outbox,
          headers,
        });
        this.loaded.owner = this.owner;
        if (!this.shared) this.inbox.moveOwn((entry) => this.add(entry));
        this.emit({ type: "changed" });
      },
    );
  }

  private add({ question, answer, seen, time }: Entry): void {
    const { outbox, ended } = this.sender!;
    if (question === null) outbox.kept.completing = !ended;
    else if (ended) outbox.kept.lost[question] = answer;
    else outbox.add(question, answer, seen, time);
  }

  private async passOn(stored: void | Promise<void>): Promise<void> {
    await stored;
    this.tabs.answered();
    await this.ready;
    if (!this.sender) return;
    this.sender.outbox.keep();
    await this.sender.outbox.stored;
  }

  /** Runs calls one after the other, in the tab that owns the attempt. */
  private inTurn(call: Call, run: (sender: Sender) => Promise<number>): Promise<number> {
    const result = this.queue.then(async () => {
      await this.ready;
      const { sender } = this;
      if (!sender) {
        await this.inbox.store();
        return this.tabs.call(call);
      }
      if (this.shared) await this.take(sender);
      return this.withToken(sender, () => run(sender));
    });
    this.queue = result.catch(() => 0);
    return result;
  }

  /** Takes the answers of the other tabs into the outbox. */
  private async take(sender: Sender): Promise<void> {
    try {
      const taken = await this.inbox.moveAll(sender.outbox, (entry) => this.add(entry));
      if (taken.length > 0) this.tell({ type: "changed" }, taken);
    } catch {
      // The store cannot be read now: the entries stay in it.
    }
  }

  /** Calls again with a new token after a 401. */
  private async withToken(sender: Sender, run: () => Promise<number>): Promise<number> {
    const { token } = this.options;
    if (!token) return run();
    try {
      this.bearer ??= await token();
    } catch {
      // Then the request is sent without one, and its 401 asks again.
    }
    const wait = await run();
    if (!wait || sender.problem !== "UNAUTHENTICATED") return wait;
    try {
      const renewed = await token();
      if (renewed === this.bearer) return wait;
      this.bearer = renewed;
    } catch {
      return wait;
    }
    return run();
  }

  /** Runs another tab's call, but not before the wait of the last one is over. */
  private async runFor({ method, parameters }: Call): Promise<number> {
    const wait = (this.notBefore - Date.now()) / 1000;
    if (wait > 0) return wait;
    return (this[method] as (...all: unknown[]) => Promise<number>).apply(this, parameters);
  }

  private follow({ state, event, taken }: Told): void {
    this.inbox.forget(taken);
    this.told = state;
    // Monotonic clocks of tabs have different starts.
    const steady = performance.now() - Math.max(0, Date.now() - state.date);
    this.toldClock = { now: state.now, at: { date: state.date, steady } };
    this.notify(event);
  }

  private emit(event: AttemptEvent): void {
    if (event.type === "waiting") this.notBefore = Date.now() + event.seconds * 1000;
    else if (this.problem === null) this.notBefore = 0;
    this.tell(event, []);
    this.notify(event);
  }

  /** Tells the other tabs. */
  private tell(event: AttemptEvent, taken: string[]): void {
    if (!this.shared || !this.sender) return;
    const { session, ended, problem, unsaved, refused, lost, storeFailed, sender } = this;
    const { now, at } = sender.clock;
    const { completing } = sender.outbox.kept;
    const state = { session, ended, problem, unsaved, refused, lost, storeFailed, completing, now, date: at.date };
    this.tabs.tell({ state, event, taken } satisfies Told);
  }

  private notify(event: AttemptEvent): void {
    for (const listener of this.listeners) {
      try {
        listener(event);
      } catch (error) {
        console.error(error); // a listener's fault stops no save
      }
    }
  }
}
