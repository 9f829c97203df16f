/** Tabs of one device: one of them owns an attempt and sends, the others pass their answers and calls to it. */
import type { LogicalClock } from "./clocks.js";
import { isEntry, type Entries } from "./inbox.js";
import { isObject } from "./json.js";
import { Ownership } from "./ownership.js";
import { makeKey } from "./request.js";

/** A call of a method of the attempt, which returns the seconds to wait before the next call. */
export type Call = { method: "open" | "flush"; parameters: unknown[] };

type Message =
  | ({ type: "call"; id: string } & Call)
  | { type: "result"; id: string; wait: number }
  | { type: "answered"; entries: Entries } // of the inbox, or given here if the store has failed
  | { type: "published"; state: object }
  | { type: "joined" | "acquired" | "ping" | "pong" };

/** What a tab does with the messages of the others, and when it gets or loses the ownership. */
export type Handlers = {
  acquired(): void;
  lost(): void;
  /** Runs a call of another tab; only the owner does. */
  run(call: Call): Promise<number>;
  /** The owner has published its state. */
  follow(state: object): void;
  /** Another tab has joined, or has an answer; only the owner is told. */
  joined(): void;
  answered(entries: Entries): void;
};

const TIMEOUT = 60_000; // milliseconds to wait for the owner
const AGAIN = 0.1; // seconds after which a call without an owner is made again
const CHECKS = 3; // of the owner, until it counts as frozen

/** The ownership of a name, and messages between the tabs. */
export class Tabs {
  readonly tab = makeKey();
  private channel: BroadcastChannel | null = null;
  private ownership: Ownership;
  private calls = new Map<string, (wait: number) => void>();
  private checks = 0; // since the owner's last message
  private timer: ReturnType<typeof setInterval> | undefined;

  /**
   * `takeover` is the time in seconds without a message of the owner after which this tab takes over. Each message has the
   * time of the logical clock.
   */
  constructor(
    private name: string,
    private takeover: number,
    private clock: LogicalClock,
    private handlers: Handlers,
  ) {
    this.ownership = new Ownership(name, this.tab, {
      acquired: () => {
        this.handlers.acquired();
        this.announce();
      },
      lost: () => this.lost(),
      resumed: () => this.announce(),
    });
  }

  get isOwner(): boolean {
    return this.ownership.isOwner;
  }

  /** Listens to messages, and asks for the ownership. */
  join(): void {
    if (typeof BroadcastChannel !== "undefined") {
      this.channel = new BroadcastChannel(this.name);
      this.channel.onmessage = ({ data }: MessageEvent<unknown>) => void this.receive(data);
      this.timer = setInterval(() => this.watch(), (this.takeover / CHECKS) * 1000);
    }
    this.ownership.request();
    this.send({ type: "joined" });
  }

  /** Owns the name without asking: no other tab uses the store. */
  claim(): void {
    this.ownership.claim();
  }

  /** Returns whether this tab still owns the name, also if it was suspended. */
  confirm(): Promise<boolean> {
    return this.ownership.confirm();
  }

  /** Lets the owner run a call; returns its wait. */
  call(call: Call): Promise<number> {
    if (this.isOwner) return Promise.resolve(AGAIN); // it has become the owner just now
    const id = makeKey();
    return new Promise((resolve) => {
      const done = (wait: number): void => {
        clearTimeout(timer);
        this.calls.delete(id);
        resolve(wait);
      };
      const timer = setTimeout(() => done(AGAIN), TIMEOUT);
      this.calls.set(id, done);
      this.send({ type: "call", id, ...call });
    });
  }

  /** Publishes the owner's state to the other tabs. */
  publish(state: object): void {
    this.send({ type: "published", state });
  }

  /** Tells the owner that there is an answer; `entries` are those that the store has not taken. */
  answered(entries: Entries): void {
    this.send({ type: "answered", entries });
  }

  /** Gives the ownership to the next tab. */
  leave(): void {
    this.ownership.release();
    clearInterval(this.timer);
    this.channel?.close();
    this.channel = null;
    this.endCalls();
  }

  private send(message: Message): void {
    this.channel?.postMessage({ ...message, latest: this.clock.latest });
  }

  private announce(): void {
    this.send({ type: "acquired" });
    this.endCalls();
  }

  private lost(): void {
    this.checks = 0;
    this.handlers.lost();
    this.send({ type: "joined" });
  }

  /** Lets the callers call the new owner: the one that they waited for is gone. */
  private endCalls(): void {
    for (const done of this.calls.values()) done(AGAIN);
  }

  /**
   * Asks the owner for a message, or takes over. Timers of a hidden tab may be suspended, messages are not:
   * therefore checks are counted, and not the time.
   */
  private watch(): void {
    if (this.isOwner) this.checks = 0;
    else if (++this.checks < CHECKS) this.send({ type: "ping" });
    else {
      this.checks = 0;
      this.ownership.steal();
    }
  }

  private async receive(data: unknown): Promise<void> {
    // A tab with another version of this class may send anything.
    if (!isObject(data)) return;
    const message = data as Message & { latest: number };
    this.clock.observe(message.latest);
    if (["published", "result", "pong", "acquired"].includes(message.type)) this.checks = 0;
    if (message.type === "acquired") this.endCalls();
    if (message.type === "result") this.calls.get(message.id)?.(message.wait);
    else if (message.type === "published") {
      if (!this.isOwner && isObject(message.state)) this.handlers.follow(message.state);
    } else if (await this.confirm()) await this.serve(message);
  }

  /** Serves a message to the owner. */
  private async serve(message: Message): Promise<void> {
    if (message.type === "ping") this.send({ type: "pong" });
    else if (message.type === "joined") this.handlers.joined();
    else if (message.type === "answered" && Array.isArray(message.entries)) {
      this.handlers.answered(message.entries.filter((one) => Array.isArray(one) && isEntry(one[1])));
    } else if (message.type === "call" && ["open", "flush"].includes(message.method) && Array.isArray(message.parameters)) {
      this.send({ type: "result", id: message.id, wait: await this.handlers.run(message) });
    }
  }
}
