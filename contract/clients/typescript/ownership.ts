/** Ownership of a name among the tabs of an origin: a lock, or a lease in `localStorage` where there are no locks. */

const LEASE = 5_000; // milliseconds for which a lease is valid
const RENEWAL = 1_500; // milliseconds between renewals
const SETTLE = 150; // milliseconds after which another tab's lease, written at the same time, is visible

export class Ownership {
  private until = 0; // the date at which the lease ends; Infinity with a lock
  private client: string | null | undefined; // the browser's id of the holder of this tab's lock
  /** No other tab has owned the name since this one got it, also if it was suspended for longer than its lease. */
  private held = false;
  private withdraw: () => void = () => undefined;

  constructor(
    private name: string,
    private tab: string,
    private handlers: { acquired(): void; lost(): void; resumed(): void },
  ) {}

  /** Returns whether this tab owns the name. A tab that was suspended may have lost it: `confirm` asks. */
  get isOwner(): boolean {
    return Date.now() < this.until;
  }

  /** Asks for the ownership, which comes when the tabs that asked before are closed. */
  request(): void {
    // A page on plain http has no locks.
    if (hasLocks()) this.lock();
    else this.lease();
  }

  /** Owns the name without asking: no other tab uses the store. */
  claim(): void {
    this.until = Infinity;
    if (this.held) return;
    this.held = true;
    this.handlers.acquired();
  }

  /** Takes the lock from an owner that sends no messages; a lease runs out by itself. */
  steal(): void {
    if (this.held || !hasLocks()) return;
    this.withdraw();
    this.lock({ steal: true });
  }

  /** Returns whether this tab still owns the name, also if it was suspended while another tab took the lock. */
  async confirm(): Promise<boolean> {
    if (this.client && this.isOwner) {
      const holder = await this.holder();
      if (holder !== undefined && holder !== this.client) this.lose();
    }
    return this.isOwner;
  }

  /** Gives the ownership to the next tab. */
  release(): void {
    this.until = 0;
    this.held = false;
    this.withdraw();
  }

  private lock(options: LockOptions = {}): void {
    const withdrawn = new AbortController();
    const { signal } = withdrawn;
    const closed = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    this.withdraw = () => withdrawn.abort();
    let granted = false;
    navigator.locks
      // `steal` allows no signal.
      .request(this.name, options.steal ? options : { ...options, signal }, async () => {
        if (signal.aborted) return;
        granted = true;
        this.claim();
        void this.holder().then((client) => void (granted && (this.client = client)));
        await closed;
      })
      .catch(() => {
        if (signal.aborted) return;
        // Locks are denied: this tab is on its own.
        if (!granted && !options.steal) return this.claim();
        granted = false;
        this.lose();
        this.lock();
      });
  }

  /** Returns the browser's id of the lock's holder; null if there is none, undefined if the browser does not tell. */
  private async holder(): Promise<string | null | undefined> {
    try {
      const { held } = await navigator.locks.query();
      return held?.find(({ name }) => name === this.name)?.clientId ?? null;
    } catch {
      return undefined;
    }
  }

  private lose(): void {
    this.until = 0;
    this.client = undefined;
    if (!this.held) return;
    this.held = false;
    this.handlers.lost();
  }

  /** Renews the lease, or takes one that is free or has run out. */
  private lease(): void {
    const key = `${this.name}.lease`;
    let claimed = false; // this tab has written a lease
    let seen: string | null = null; // another tab's lease, for so many ticks
    let ticks = 0;
    const tick = (): void => {
      const now = Date.now();
      try {
        const text = localStorage.getItem(key);
        const lease: Lease = JSON.parse(text ?? "null") ?? { tab: this.tab, until: 0 };
        const mine = lease.tab === this.tab;
        [ticks, seen] = [text === seen ? ticks + 1 : 0, text];
        // The date may be set back: then a lease that is not renewed does not run out.
        if (!mine && now < lease.until && ticks * RENEWAL <= LEASE) {
          claimed = false;
          return this.lose();
        }
        localStorage.setItem(key, JSON.stringify({ tab: this.tab, until: now + LEASE }));
        if (!mine || !claimed) {
          claimed = true;
          if (!mine) this.lose();
          setTimeout(tick, SETTLE);
          return;
        }
      } catch {
        // Without a store that tabs share, each tab is on its own.
      }
      // The lease ends here before others may take it.
      const lapsed = now >= this.until;
      this.until = now + LEASE - RENEWAL;
      if (!this.held) {
        this.held = true;
        this.handlers.acquired();
      } else if (lapsed) this.handlers.resumed();
    };
    const timer = setInterval(tick, RENEWAL);
    this.withdraw = () => {
      clearInterval(timer);
      try {
        const lease: Lease | null = JSON.parse(localStorage.getItem(key) ?? "null");
        if (lease?.tab === this.tab) localStorage.removeItem(key);
      } catch {
        // Then the lease runs out.
      }
    };
    tick();
  }
}

type Lease = { tab: string; until: number };

function hasLocks(): boolean {
  return typeof navigator !== "undefined" && "locks" in navigator;
}
