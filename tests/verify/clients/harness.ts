/** Helpers of the programs: an attempt on a device, its tabs, the proxy's script, the service's own state. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import { Attempt, createClient, type AnswerChange, type AnswerChanges, type SessionService } from "session-service-client";

export const URL = process.argv[2]!;
export const scenario = process.argv[3]!;
export const ARGUMENTS = process.argv.slice(4);
export const CLIENT = createClient({ baseUrl: URL });
export const NOWHERE = createClient({ baseUrl: "http://127.0.0.1:9" });
export const QUIZ = 7;

type Request = { method: string; path: string; key: string; body: string };
type Decide = (question: string, mine: AnswerChange, theirs: AnswerChange) => AnswerChange | Promise<AnswerChange>;

/** A browser's storage, which can be full. */
export class Memory {
  full = false;
  items = new Map<string, string>();
  getItem = (name: string): string | null => this.items.get(name) ?? null;
  setItem = (name: string, value: string): void => {
    if (this.full) throw new DOMException("The quota has been exceeded.", "QuotaExceededError");
    this.items.set(name, value);
  };
}

/** A browser's database, which all tabs of a device share. */
export class Database {
  readonly shared = true;

  constructor(
    readonly memory = new Memory(),
    private delay = 0,
  ) {}

  getItem = async (key: string): Promise<string | null> => (await sleep(this.delay), this.memory.getItem(key));
  setItem = async (key: string, value: string): Promise<void> => (await sleep(this.delay), this.memory.setItem(key, value));
  removeItem = async (key: string): Promise<void> => void this.memory.items.delete(key);
  getAllKeys = async (): Promise<string[]> => [...this.memory.items.keys()];
}

/** Runs the scenario that the command line names. */
export async function run(...scenarios: (() => Promise<void>)[]): Promise<void> {
  await scenarios.find(({ name }) => name === scenario)!();
}

/** Sets the proxy's replies to the next requests. */
export async function script(replies: string[], headers: { [name: string]: string } = {}): Promise<void> {
  const steps = replies.map((reply) => ({ reply, headers }));
  const set = await fetch(`${URL}/script`, { method: "PUT", body: JSON.stringify({ steps }) });
  assert.ok(set.ok);
  await set.text();
}

/** Returns the requests with this method since the last script. */
export async function requests(method: string): Promise<Request[]> {
  const seen = (await (await fetch(`${URL}/script`)).json()) as Request[];
  return seen.filter((request) => request.method === method);
}

/** Fails the scenario: no other device has written. */
export function never(question: string): AnswerChange {
  console.error(`decide was called for ${question}`);
  process.exit(1);
}

/** Returns an attempt on the store, not opened yet. */
export const made = (store: Memory, decide: Decide = never): Attempt =>
  new Attempt(CLIENT, store, "attempt", decide);

/** Returns an open attempt on the store. */
export async function device(store: Memory, user: string, decide: Decide = never): Promise<Attempt> {
  const attempt = made(store, decide);
  await finish(() => attempt.open(user, QUIZ));
  return attempt;
}

/** Returns a name that no other test of this process, or of another one, uses for a store, a lock and a channel. */
export const newName = (): string => `attempt-${randomUUID()}`;

/** Waits until the condition holds. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; !(await condition()); tries++) {
    assert.ok(tries < 6000, "the condition never held");
    await sleep(5);
  }
}

/** Returns the name of a new user. */
export const newUser = (): string => `typescript-${randomUUID()}`;

/** Repeats a call until it returns 0; here a second of the class is a millisecond. */
export async function finish(call: () => Promise<number>): Promise<void> {
  let wait = 0;
  for (let tries = 0; tries < 50; tries++) {
    wait = await call();
    if (!wait) return;
    await sleep(Math.min(wait, 50));
  }
  assert.fail(`still waits: ${wait}`);
}

/** Makes the timers of this process, but not those of `sleep`, end after a thirtieth of their time. */
export function shortenTimers(): void {
  const set = globalThis.setTimeout;
  const sooner = (call: () => void, milliseconds = 0, ...more: []) => set(call, milliseconds / 30, ...more);
  globalThis.setTimeout = Object.assign(sooner, set);
}

/** Returns the status and the answers that the service has for an attempt. */
export async function state(attempt: Attempt, client: SessionService = CLIENT): Promise<[string, AnswerChanges]> {
  const { data, error } = await client.GET("/api/sessions/{id}", { params: { path: { id: attempt.session!.id } } });
  const session = data ?? (error && "session" in error ? error.session : assert.fail(JSON.stringify(error)));
  return [session.status, session.answers];
}

/** Asserts that the service has these answers, and the status where it is given. */
export async function assertSaved(attempt: Attempt, answers: AnswerChanges, status = "in_progress"): Promise<void> {
  assert.deepEqual(await state(attempt), [status, answers]);
}
