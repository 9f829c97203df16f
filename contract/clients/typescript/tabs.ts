/** Tabs of one device: one of them owns an attempt and sends, the others pass their answers and calls to it. */
import { makeKey } from "./request.js";

/** A call of a method of the attempt, which returns the seconds to wait before the next call. */
export type Call = { method: "open" | "flush"; parameters: unknown[] };

type Message =
  | ({ type: "call"; id: string } & Call)
  | { type: "result"; id: string; wait: number }
  | { type: "answered" } // an entry was added to the inbox
  | { type: "state"; state: unknown }
  | { type: "joined" };

/** What a tab does with the messages of the others. */
export type Handlers = {
  /** This tab owns the name now. */
  own(): unknown;
  /** Runs a call of another tab; only the owner does. */
  run(call: Call): Promise<number>;
  /** The owner tells its state. */
  follow(state: unknown): void;
  /** Another tab has joined, or has added an answer to the inbox; only the owner is told. */
  joined(): void;
  answered(): void;
};

const LEASE = 5_000; // milliseconds for which a lease is valid
const RENEWAL = 1_500; // milliseconds between renewals
const TIMEOUT = 60_000; // milliseconds to wait for the owner
const AGAIN = 0.1; // seconds after which a call without an owner is made again
const SETTLE = 150; // milliseconds after which another tab's lease, written at the same time, is visible

/** The ownership of a name among the tabs of an origin, and messages between these tabs. */
export class Tabs {
  readonly tab = makeKey();
  private channel: BroadcastChannel | null = null;
  private until = 0; // of the lease; Infinity with a lock
  private release: () => void = () => undefined;

  private calls = new Map<string, (wait: number) => void>();

  constructor(
    private name: string,
    private handlers: Handlers,
  ) {}

  /** Returns whether this tab owns the name. A tab that slept may have lost it. */
  get isOwner(): boolean {
    return Date.now() < this.until;
  }

  /** Asks for the ownership, which comes when the tabs that asked before are closed; listens to messages. */
  join(): void {
    if (typeof BroadcastChannel !== "undefined") {
      this.channel = new BroadcastChannel(this.name);
      this.channel.onmessage = ({ data }: MessageEvent<Message>) => void this.receive(data);
    }
    // A page on plain http has no locks.
    if (typeof navigator !== "undefined" && "locks" in navigator) this.lock();
    else this.lease();
    this.send({ type: "joined" });
  }

  /** Owns the name without asking: no other tab uses the store. */
  own(): void {
    this.until = Infinity;
    this.start();
  }

  /** Lets the owner run a call; returns its wait. */
  call(call: Call): Promise<number> {
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

  /** Tells the other tabs the owner's state. */
  tell(state: unknown): void {
    this.send({ type: "state", state });
  }

  /** Tells the owner that there is an entry in the inbox. */
  answered(): void {
    this.send({ type: "answered" });
  }

  /** Gives the ownership to the next tab. */
  leave(): void {
    this.until = 0;
    this.release();
    this.channel?.close();
    this.channel = null;
  }

  private send(message: Message): void {
    this.channel?.postMessage(message);
  }

  private start(): void {
    this.handlers.own();
    // The owner that they waited for is gone.
    for (const done of this.calls.values()) done(AGAIN);
  }

  private async receive(message: Message): Promise<void> {
    if (message.type === "state") this.handlers.follow(message.state);
    else if (message.type === "result") this.calls.get(message.id)?.(message.wait);
    else if (!this.isOwner) return;
    else if (message.type === "call") {
      this.send({ type: "result", id: message.id, wait: await this.handlers.run(message) });
    } else if (message.type === "joined") this.handlers.joined();
    else if (message.type === "answered") this.handlers.answered();
  }

  private lock(): void {
    const closed = new AbortController();
    const held = new Promise<void>((resolve) => {
      this.release = () => {
        resolve();
        closed.abort();
      };
    });
    navigator.locks
      .request(this.name, { signal: closed.signal }, () => {
        this.own();
        return held;
      })
      // Locks are denied: this tab is on its own. Or it left before it was the owner.
      .catch(() => closed.signal.aborted || this.own());
  }

  /** Renews a lease in `localStorage`, or takes one that is free or has run out. */
  private lease(): void {
    const key = `${this.name}.lease`;
    let claimed = 0; // when this tab wrote a lease that it does not hold yet
    let held = false; // this tab owns the name, and no other tab has since, also if it slept longer than its lease
    const tick = (): void => {
      const now = Date.now();
      let lease: { tab: string; until: number };
      try {
        lease = JSON.parse(localStorage.getItem(key) ?? "null") ?? { tab: this.tab, until: 0 };
        const mine = lease.tab === this.tab;
        if (!mine && now < lease.until) {
          [this.until, claimed, held] = [0, 0, false];
          return;
        }
        localStorage.setItem(key, JSON.stringify({ tab: this.tab, until: now + LEASE }));
        if (!mine || claimed === 0) {
          [claimed, held] = [now, false];
          setTimeout(tick, SETTLE);
          return;
        }
      } catch {
        // Without a store that tabs share, each tab is on its own.
      }
      // The lease ends here before others may take it.
      this.until = now + LEASE - RENEWAL;
      if (!held) this.start();
      held = true;
    };
    const timer = setInterval(tick, RENEWAL);
    this.release = () => {
      clearInterval(timer);
      try {
        const lease = JSON.parse(localStorage.getItem(key) ?? "null");
        if (lease?.tab === this.tab) localStorage.removeItem(key);
      } catch {
        // Then the lease runs out.
      }
    };
    tick();
  }
}
