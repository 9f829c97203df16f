/** Tabs of a browser in this process: `navigator.locks`, `localStorage`, and tabs that the browser suspends. */
import { AsyncLocalStorage } from "node:async_hooks";

import { Attempt, createClient, type Merge, type Options } from "session-service-client";

import { Database, finish, Memory, newName, newUser, QUIZ, URL } from "./harness.js";

type Task = () => void;
type Holder = { clientId: string; tab: Tab; name: string; stolen: Task };
type Request = { signal?: AbortSignal; steal?: boolean };

/** A tab: the program in `run` belongs to it. While it is suspended it gets no message, and its timers do not end. */
export class Tab {
  private static running = new AsyncLocalStorage<Tab>();
  private static count = 0;
  readonly id = `client ${Tab.count++}`;
  private tasks: Task[] | null = null; // while it is suspended

  /** The tab to which the running code belongs. */
  static get current(): Tab {
    return Tab.running.getStore() ?? new Tab();
  }

  run<T>(program: () => T): T {
    return Tab.running.run(this, program);
  }

  get isSuspended(): boolean {
    return this.tasks !== null;
  }

  suspend(): void {
    this.tasks ??= [];
  }

  resume(): void {
    const tasks = this.tasks ?? [];
    this.tasks = null;
    for (const task of tasks) task();
  }

  /** Runs the task, once the tab runs. */
  post(task: Task): void {
    if (this.tasks) this.tasks.push(task);
    else task();
  }
}

/** The locks of an origin, as far as an attempt uses them (Web Locks API). */
class Locks {
  private held = new Map<string, Holder>();
  private waiting: { name: string; grant: Task }[] = [];

  query = async () => ({ held: [...this.held.values()].map(({ name, clientId }) => ({ name, clientId })) });

  request(name: string, { signal, steal }: Request, callback: () => Promise<unknown>): Promise<unknown> {
    const tab = Tab.current;
    return new Promise((resolve, reject) => {
      const stop = (): void => tab.post(() => reject(new DOMException("The request was aborted.", "AbortError")));
      const grant = (): void => {
        const holder = { clientId: tab.id, tab, name, stolen: stop };
        this.held.set(name, holder);
        callback().then(resolve, reject).finally(() => this.held.get(name) === holder && this.release(name));
      };
      const request = { name, grant };
      signal?.addEventListener("abort", () => {
        if (!this.waiting.includes(request)) return;
        this.waiting.splice(this.waiting.indexOf(request), 1);
        stop();
      });
      if (steal) {
        this.held.get(name)?.stolen();
        grant();
      } else if (this.held.has(name)) this.waiting.push(request);
      else grant();
    });
  }

  private release(name: string): void {
    this.held.delete(name);
    const index = this.waiting.findIndex((request) => request.name === name);
    if (index >= 0) this.waiting.splice(index, 1)[0]!.grant();
  }
}

const define = (name: string, value: unknown): void =>
  void Object.defineProperty(globalThis, name, { value, configurable: true });

/** Gives this process locks. */
export const withLocks = (): void => define("navigator", { locks: new Locks() });

/** Denies locks, as a browser does in a sandboxed frame. */
export function withDeniedLocks(): void {
  const request = (): Promise<never> => Promise.reject(new DOMException("denied", "SecurityError"));
  define("navigator", { locks: { request, query: request } });
}

/** Gives this process no locks, but a `localStorage`, as on a page on plain http. */
export function withLeases(): void {
  const memory = new Memory();
  define("navigator", {});
  const removeItem = (key: string): void => void memory.items.delete(key);
  define("localStorage", { getItem: memory.getItem, setItem: memory.setItem, removeItem });
}

const { setTimeout: setTimer, setInterval: setTicks } = globalThis;

/** A timer that ends once its tab runs. */
function setTabTimer(task: (...all: unknown[]) => void, milliseconds?: number, ...all: unknown[]) {
  const tab = Tab.current;
  return setTimer(() => tab.post(() => task(...all)), milliseconds);
}

/** Ticks, of which a suspended tab gets one when it runs again. */
function setTabTicks(task: Task, milliseconds?: number) {
  const tab = Tab.current;
  let waits = false;
  const tick = (): void => {
    waits = false;
    task();
  };
  return setTicks(() => {
    if (waits) return;
    waits = true;
    tab.post(tick);
  }, milliseconds);
}

define("setTimeout", setTabTimer);
define("setInterval", setTabTicks);

const Channel = globalThis.BroadcastChannel;

/** A channel that ends with its process, and that a suspended tab neither reads nor writes. */
class TabChannel {
  onmessage: ((event: MessageEvent) => void) | null = null;
  private channel: BroadcastChannel;

  constructor(name: string) {
    const tab = Tab.current;
    this.channel = new Channel(name);
    this.channel.onmessage = (event) => tab.post(() => this.onmessage?.(event as MessageEvent));
  }

  postMessage = (message: unknown): void => this.channel.postMessage(message);
  close = (): void => this.channel.close();
}

define("BroadcastChannel", TabChannel);

/** A tab with an attempt; `sent` are the requests that this tab has made. */
export type Opened = { tab: Tab; attempt: Attempt; sent: string[] };

/** Opens tabs of a device; the first one is the owner, and its attempt is open. */
export async function openTabs(count: number, database = new Database(), options: Options = {}): Promise<Opened[]> {
  const [name, user] = [newName(), newUser()];
  const opened = [...Array(count)].map(() => openTab(name, database, options));
  for (const { attempt } of opened) await finish(() => attempt.open(user, QUIZ));
  return opened;
}

export function openTab(name: string, database: Database, options: Options = {}, merge?: Merge): Opened {
  const [tab, sent] = [new Tab(), [] as string[]];
  const client = createClient({ baseUrl: URL, fetch: (request) => (sent.push(request.method), fetch(request)) });
  const attempt = tab.run(() => new Attempt(client, database, name, merge, options));
  return { tab, attempt, sent };
}
