/** A learner's attempt at a quiz: keeps answers on the device until the service has them. */
import type { AnswerChange, SessionService } from "./client.js";
import { LogicalClock, readClocks, type ServiceTime } from "./clocks.js";
import type { AttemptEvent } from "./events.js";
import { Inbox, type Entries, type NewEntry } from "./inbox.js";
import { answerIn, canonicalId, copyOf } from "./json.js";
import { FORMAT, timesOf, type Assignment } from "./kept.js";
import { LimitedStore } from "./limits.js";
import { keepMine, type Merge } from "./merge.js";
import { Outbox } from "./outbox.js";
import { copyState, isPublished, published, timeHere, type State } from "./published.js";
import { Sender } from "./sender.js";
import { checkStore, isShared, settle, type Store } from "./stores.js";
import { Tabs, type Call } from "./tabs.js";
import { StoredText } from "./text.js";
import { Token } from "./token.js";
import { View } from "./view.js";

export type Options = {
  /** Returns a token for the service. It is called before the first request and after a 401. */
  token?: () => string | Promise<string>;
  /** The time in seconds that the store and `token` may take; 10 if it is left out. */
  timeout?: number;
  /** The time in seconds without a message of the tab that sends, after which another one takes over; 30. */
  takeover?: number;
};

// Problems after which another tab's call may be run at once: no request has failed.
const NO_REQUEST = ["UNDECIDED", "NOT_OPEN", "OTHER_TAB"];
const DEBOUNCE = 500; // milliseconds after another tab's answer

export class Attempt extends View {
  private tabs: Tabs;
  protected inbox: Inbox;
  private token: Token;
  private texts: LimitedStore;
  private key: string; // of the outbox; prefix of the inbox
  private shared: boolean;
  private clock = new LogicalClock();
  private loading: Outbox | null = null; // the last one that was loaded
  private loaded: Sender | null = null; // with it, if this tab owns the attempt
  private published: State | null = null; // by the tab that owns the attempt
  private publishedTime: ServiceTime = { now: Date.now(), at: readClocks() }; // of `published`
  private queue: Promise<unknown> = Promise.resolve();
  private puts: Promise<unknown> = Promise.resolve(); // resolves once every answer is stored
  private flushing: Promise<number> | null = null;
  private ready: Promise<void> = Promise.resolve(); // resolves once this tab's outbox is loaded, if it has one
  private assignment: Assignment | null = null; // of the last `open`
  private notBefore = 0; // the time of the next request for another tab, by the steady clock
  private debounce: ReturnType<typeof setTimeout> | undefined;

  /**
   * Loads the store; the attempt's keys in it begin with `name`. `merge` chooses the answer to a question that another
   * device has changed: without one, this device's answer. Throws a TypeError if the store lacks a function.
   */
  constructor(
    public client: SessionService,
    store: Store,
    private name: string,
    private merge: Merge = keepMine,
    { token, timeout = 10, takeover = 30 }: Options = {},
  ) {
    super();
    checkStore(store);
    this.shared = isShared(store);
    this.key = `${name}.v${FORMAT}`;
    const late = (of: "store" | "token") => (): void => this.emit({ type: "timeout", of });
    this.texts = new LimitedStore(store, timeout, { late: late("store"), recovered: () => this.recover() });
    this.token = new Token(token, timeout, late("token"));
    this.tabs = new Tabs(this.key, takeover, this.clock, {
      acquired: () => this.load(),
      lost: () => this.unload(),
      run: (call) => this.runFor(call),
      follow: (state) => this.follow(state),
      joined: () => this.welcome(),
      answered: (entries) => this.receive(entries),
    });
    this.inbox = new Inbox(this.texts, `${this.key}.inbox.`, this.tabs.tab, this.clock);
    if (this.shared) {
      this.inbox.start(async () => timesOf(await this.texts.getItem(this.key)));
      this.tabs.join();
    } else this.tabs.claim();
  }

  /** The sender, if this tab owns the attempt and the store is loaded. */
  private get sender(): Sender | null {
    return this.tabs.isOwner ? this.loaded : null;
  }

  protected get state(): State | null {
    return this.sender ?? this.published;
  }

  protected get time(): ServiceTime {
    return this.sender?.time ?? this.publishedTime;
  }

  /** The name to which unreadable content, or that of another attempt, was moved. */
  get setAside(): string | null {
    return this.sender?.outbox.text.setAside ?? null;
  }

  /** Continues the user's attempt at the quiz, or starts one; with `anew` also after one has ended. */
  open(user_id: string, quiz_id: number | string, { anew = false } = {}): Promise<number> {
    const assignment = { user_id, quiz_id: canonicalId(quiz_id) };
    this.assignment = assignment;
    const call: Call = { method: "open", parameters: [user_id, quiz_id, { anew }] };
    return this.inTurn(call, (sender) => sender.open(assignment, anew));
  }

  /**
   * Keeps an answer for the next flush; null clears the answer. The returned promise resolves once the device has it
   * stored, or `storeFailed` is true. Throws if it is not JSON.
   */
  answer(question: number | string, answer: AnswerChange): Promise<void> {
    const copy = copyOf(answer); // a list that its owner changes later must not change a write that was sent
    const name = String(question);
    const seen = answerIn(this.session?.answers ?? this.state?.saved ?? {}, name);
    return this.put({ question: name, answer: copy, seen, session: this.state?.id ?? null });
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
    void this.put({ question: null, answer: null, seen: null, session: this.state?.id ?? null });
    return this.inTurn({ method: "flush", parameters: [] }, (sender) => sender.flush());
  }

  /** Stops using the store, once all is stored: another tab of the device, or another `Attempt`, may go on. */
  async close(): Promise<void> {
    await this.queue;
    await this.puts;
    await this.loaded?.outbox.text.written;
    clearTimeout(this.debounce);
    this.tabs.leave();
    this.loading = this.loaded = null;
  }

  /** Loads the outbox, as its only user; adds the answers that were given meanwhile. */
  private load(): void {
    this.loaded = null;
    const text = new StoredText(this.texts, this.key, () => this.emit({ type: "changed" }));
    const outbox = (this.loading = new Outbox(text, this.clock));
    const read = settle(() => this.inbox.reading, () => outbox.load(this.name));
    const loaded = settle(
      () => read,
      () => {
        if (this.loading !== outbox) return text.detach();
        const sender = (this.loaded = this.senderOf(outbox));
        if (!this.shared) this.inbox.moveOwn(sender);
        this.emit({ type: "changed" });
      },
    );
    this.ready = Promise.resolve(loaded);
  }

  private senderOf(outbox: Outbox): Sender {
    const context = {
      client: () => this.client,
      merge: this.merge,
      emit: (event: AttemptEvent) => this.emit(event),
      mayWrite: async () => (await this.tabs.confirm()) && this.sender?.outbox === outbox,
      headers: () => this.token.headers,
    };
    return new Sender(outbox, context, this.assignment);
  }

  /** Unloads the outbox: another tab owns the attempt. Answers that it may lack go through the inbox. */
  private unload(): void {
    const { loaded } = this;
    this.loading = this.loaded = null;
    if (!loaded) return;
    this.published = copyState(loaded);
    this.publishedTime = loaded.time;
    loaded.outbox.text.detach();
    for (const entry of loaded.outbox.entries) void this.passOn(entry);
    this.emit({ type: "changed" });
  }

  /** Writes what the store did not take while an earlier call had not ended. */
  private recover(): void {
    const { sender } = this;
    if (sender?.outbox.text.hasUnread) this.queue = this.queue.then(() => sender.readAgain(this.name));
    else if (sender) sender.outbox.keep();
    else void this.inbox.retry().then(() => this.notify({ type: "changed" }));
  }

  /** Adds an entry to the outbox, or passes it to the tab that has it; resolves once it is stored. */
  private put(entry: NewEntry): Promise<void> {
    let stored: Promise<void>;
    if (this.sender) {
      this.sender.add({ ...entry, time: this.clock.next() });
      this.sender.outbox.keep();
      stored = this.sender.outbox.text.written;
    } else stored = this.passOn(entry);
    this.puts = Promise.all([this.puts, stored]);
    this.emit({ type: "changed" });
    return stored;
  }

  private async passOn(entry: NewEntry): Promise<void> {
    await this.inbox.put(entry, this.shared);
    this.tabs.answered(this.inbox.unwritten);
    if (this.shared) this.notify({ type: "changed" });
    await this.ready;
    if (!this.sender) return;
    this.sender.outbox.keep();
    await this.sender.outbox.text.written;
  }

  /** Runs calls one after the other, in the tab that owns the attempt. */
  private inTurn(call: Call, run: (sender: Sender) => Promise<number>): Promise<number> {
    const result = this.queue.then(async () => {
      await this.ready;
      const sender = (await this.tabs.confirm()) ? this.sender : null;
      if (!sender) {
        await this.puts;
        await this.inbox.retry();
        this.tabs.answered(this.inbox.unwritten);
        return this.tabs.call(call);
      }
      if (sender.outbox.text.hasUnread) await sender.readAgain(this.name);
      if (this.shared) await this.collect(sender);
      return this.token.use(() => run(sender), () => sender.problem === "UNAUTHENTICATED");
    });
    this.queue = result.catch(() => 0);
    return result;
  }

  /** Publishes the state for a tab that has joined, or has lost the ownership: that one may have written late. */
  private welcome(): void {
    this.sender?.outbox.keep();
    this.publish({ type: "changed" }, []);
  }

  /** Collects the answers of the other tabs. */
  private collect(sender: Sender): Promise<void> {
    return this.inbox.moveAll(sender, (keys) => this.publish({ type: "changed" }, keys));
  }

  /** Receives answers that the store of another tab has not taken, and sends them with those in the store. */
  private receive(entries: Entries): void {
    if (!this.sender) return;
    for (const [, entry] of entries) this.sender.add(entry);
    if (entries.length > 0) {
      this.sender.outbox.keep();
      this.publish({ type: "changed" }, entries.map(([key]) => key));
    }
    this.debounce ??= setTimeout(() => {
      this.debounce = undefined;
      void this.runFor({ method: "flush", parameters: [] });
    }, DEBOUNCE);
  }

  /** Runs another tab's call, but not before the wait of the last one is over. */
  private async runFor({ method, parameters }: Call): Promise<number> {
    const wait = (this.notBefore - performance.now()) / 1000;
    if (wait > 0) return wait;
    // A flush that has begun may have read the inbox before the other tab's answer was there.
    await this.flushing;
    return (this[method] as (...all: unknown[]) => Promise<number>).apply(this, parameters);
  }

  private follow(message: object): void {
    if (!isPublished(message)) return;
    this.inbox.forget(message.received);
    this.published = message.state;
    this.publishedTime = timeHere(message);
    this.notify(message.event);
  }

  private emit(event: AttemptEvent): void {
    if (event.type === "waiting") {
      this.notBefore = NO_REQUEST.includes(event.problem) ? 0 : performance.now() + event.seconds * 1000;
    } else if (this.problem === null) this.notBefore = 0;
    this.publish(event, []);
    this.notify(event);
  }

  /** Publishes the state to the other tabs. */
  private publish(event: AttemptEvent, received: string[]): void {
    if (!this.shared || !this.sender) return;
    this.tabs.publish(published(this.sender, event, received));
  }
}
