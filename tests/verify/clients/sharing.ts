/** Tabs of a device that share one queue: node sharing.js URL SCENARIO. tabs.ts has the browser's part. */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import { Attempt, createClient, type AnswerChange, type Options, type SessionService } from "session-service-client";

import {
  assertSaved, CLIENT, Database, finish, Memory, newName, newUser, NOWHERE, QUIZ, requests, run, script, until, URL,
} from "./harness.js";
import { Tab, withDeniedLocks, withLeases, withLocks } from "./tabs.js";

const now = Date.now;

/** A tab with an attempt; `sent` are the requests that this tab has made. */
type Opened = { tab: Tab; attempt: Attempt; sent: string[] };

/** Opens tabs of a device; the first one is the owner, and its attempt is open. */
async function openTabs(count: number, database = new Database(), options: Options = {}): Promise<Opened[]> {
  const [name, user] = [newName(), newUser()];
  const opened = [...Array(count)].map(() => openTab(name, database, options));
  for (const { attempt } of opened) await finish(() => attempt.open(user, QUIZ));
  return opened;
}

function openTab(name: string, database: Database, options: Options): Opened {
  const [tab, sent] = [new Tab(), [] as string[]];
  const client = createClient({ baseUrl: URL, fetch: (request) => (sent.push(request.method), fetch(request)) });
  const attempt = tab.run(() => new Attempt(client, database, name, undefined, options));
  return { tab, attempt, sent };
}
/** A tab that has just become the owner of a shared store waits for the store, and asks no other tab. */
async function slow_shared_store(): Promise<void> {
  const [memory, name] = [new Memory(), newName()];
  const store = new Database(memory);
  store.getItem = async (key: string) => (await sleep(400), memory.getItem(key));
  const calls: unknown[] = [];
  const channel = new BroadcastChannel(`${name}.v1`);
  channel.onmessage = ({ data }: MessageEvent<{ type: string }>) => void (data.type === "call" && calls.push(data));
  const attempt = new Attempt(CLIENT, store, name);
  await attempt.answer(1, "one");
  const user = newUser();
  await finish(() => attempt.open(user, QUIZ));
  await finish(() => attempt.complete());
  await assertSaved(attempt, { "1": "one" }, "completed");
  assert.ok(calls.length <= 1);
}

/** Answers that closed tabs have left are saved, unless there is a later one; what no tab has written is ignored. */
async function closed_tabs(): Promise<void> {
  const [memory, name] = [new Memory(), newName()];
  const attempt = new Attempt(CLIENT, new Database(memory), name);
  const user = newUser();
  await finish(() => attempt.open(user, QUIZ));
  attempt.answer(1, "later");
  const left = (question: string, answer: AnswerChange, time: number): string =>
    JSON.stringify({ question, answer, seen: null, time });
  memory.setItem(`${name}.v1.inbox.a.0`, left("1", "earlier", Date.now() - 5000));
  memory.setItem(`${name}.v1.inbox.a.1`, left("2", "the last one", Date.now()));
  memory.setItem(`${name}.v1.inbox.b.0`, left("2", "the one before", Date.now() - 1));
  for (const [index, content] of ["", "{", "[1]", "null", '{"question": 7}'].entries()) {
    memory.setItem(`${name}.v1.inbox.c.${index}`, content);
  }
  memory.full = true;
  await finish(() => attempt.flush());
  await assertSaved(attempt, { "1": "later", "2": "the last one" });
  assert.ok(memory.getItem(`${name}.v1.inbox.a.1`)); // nothing is removed before it is stored
  memory.full = false;
  await finish(() => attempt.complete());
  await assertSaved(attempt, { "1": "later", "2": "the last one" }, "completed");
  assert.deepEqual([...memory.items.keys()], [`${name}.v1`]);
}

/** A tab that the browser has suspended is replaced, and sends nothing out of turn when it wakes. */
async function suspended_owner(): Promise<void> {
  withLocks();
  const database = new Database();
  const [owner, other] = (await openTabs(2, database, { takeover: 0.3 })) as [Opened, Opened];
  await owner.attempt.answer(1, "saved");
  await finish(() => owner.attempt.flush());
  await owner.attempt.answer(2, "stored, and not sent");
  await sleep(1000);
  assert.deepEqual(other.sent, []); // an owner that is awake is not replaced
  owner.tab.suspend();
  await other.attempt.answer(3, "of the other tab");
  await finish(() => other.attempt.flush());
  await assertSaved(other.attempt, { "1": "saved", "2": "stored, and not sent", "3": "of the other tab" });
  // It wakes: the learner types in it before it hears of its lock.
  owner.sent.length = 0;
  await owner.attempt.answer(4, "of the tab that woke");
  assert.ok((await owner.attempt.flush()) > 0);
  assert.deepEqual(owner.sent, []);
  owner.tab.resume();
  await other.attempt.answer(5, "later");
  for (const { attempt } of [owner, other]) await finish(() => attempt.flush());
  const saved = { "1": "saved", "2": "stored, and not sent", "3": "of the other tab", "4": "of the tab that woke", "5": "later" };
  await assertSaved(other.attempt, saved);
  await until(() => !owner.attempt.pending && !other.attempt.pending);
  assert.deepEqual([owner.sent, owner.attempt.unsaved], [[], {}]);
  await other.attempt.close();
  await owner.attempt.answer(6, "as the owner again");
  await finish(() => owner.attempt.complete());
  await assertSaved(owner.attempt, { ...saved, "6": "as the owner again" }, "completed");
}

/** An answer that was in flight when the tab was suspended is sent once, by the tab that took over. */
async function suspended_while_sending(): Promise<void> {
  withLocks();
  const [owner, other] = (await openTabs(2, new Database(), { takeover: 0.3 })) as [Opened, Opened];
  let reply: () => void = () => undefined;
  owner.attempt.client = createClient({
    baseUrl: URL,
    fetch: async (request) => {
      const response = await fetch(request);
      await new Promise<void>((resolve) => (reply = resolve));
      return response;
    },
  });
  await script([]);
  await owner.attempt.answer(1, "one");
  const flushing = owner.attempt.flush();
  await until(async () => (await requests("PATCH")).length === 1);
  owner.tab.suspend();
  await other.attempt.answer(1, "two");
  await finish(() => other.attempt.flush());
  reply();
  assert.ok((await flushing) > 0);
  owner.tab.resume();
  await finish(() => other.attempt.flush());
  await assertSaved(other.attempt, { "1": "two" });
  const keys = (await requests("PATCH")).map(({ key }) => key);
  assert.deepEqual([keys.length, new Set(keys).size], [3, 2]);
}

/** A learner hands in with a tab that does not own the queue, while the device is offline. */
async function follower_hands_in(): Promise<void> {
  withLocks();
  const [owner, other] = (await openTabs(2)) as [Opened, Opened];
  const { client } = owner.attempt;
  owner.attempt.client = NOWHERE;
  await other.attempt.answer(1, "one");
  assert.ok((await other.attempt.complete()) > 0);
  assert.deepEqual([other.attempt.pending, owner.attempt.pending], [true, true]);
  owner.attempt.client = client;
  await finish(() => owner.attempt.flush());
  await assertSaved(owner.attempt, { "1": "one" }, "completed");
  await until(() => other.attempt.ended && !other.attempt.pending);
}

/** The answer given last counts, also if the date was set back before. */
async function date_set_back(): Promise<void> {
  withLocks();
  const [owner, other] = (await openTabs(2)) as [Opened, Opened];
  for (const [hours, { attempt }] of [owner, owner, other, owner, other, other].entries()) {
    Date.now = () => now() - hours * 3_600_000;
    await attempt.answer(1, `the answer number ${hours}`);
    await until(() => other.attempt.answers["1"] === `the answer number ${hours}`);
    await owner.attempt.flush();
    await until(() => other.attempt.answers["1"] === `the answer number ${hours}` && !other.attempt.pending);
  }
  Date.now = now;
  await finish(() => owner.attempt.flush());
  await assertSaved(owner.attempt, { "1": "the answer number 5" });
}

/** Two answers of one millisecond keep their order, in whatever order the store lists them. */
async function same_millisecond(): Promise<void> {
  withLocks();
  const database = new Database();
  const [owner, other] = (await openTabs(2, database)) as [Opened, Opened];
  const [date, list] = [now(), database.getAllKeys];
  database.getAllKeys = async () => (await list()).sort().reverse();
  Date.now = () => date;
  await Promise.all([...Array(11).keys()].map((number) => other.attempt.answer(1, number)));
  Date.now = now;
  await finish(() => owner.attempt.flush());
  await assertSaved(owner.attempt, { "1": 10 });
}

/** A tab that is closed right after an answer gives up the queue only after the store has the answer. */
async function closed_before_written(): Promise<void> {
  withLocks();
  const [memory, name, user] = [new Memory(), newName(), newUser()];
  const tabs = [0, 1].map(() => openTab(name, new Database(memory, 30), {}));
  for (const { attempt } of tabs) await finish(() => attempt.open(user, QUIZ));
  for (const [question, { attempt }] of [...tabs.entries()].reverse()) {
    void attempt.answer(question, "old");
    void attempt.answer(question, "new");
    void attempt.close();
  }
  const { attempt } = openTab(name, new Database(memory), {});
  await finish(() => attempt.open(user, QUIZ));
  await finish(() => attempt.flush());
  await assertSaved(attempt, { "0": "new", "1": "new" });
}

/** A tab that becomes the owner sends for the user and the quiz that it was opened for. */
async function new_owner(): Promise<void> {
  withLocks();
  const [owner, other] = (await openTabs(2)) as [Opened, Opened];
  await owner.attempt.close();
  await other.attempt.answer(1, "one");
  await finish(() => other.attempt.flush());
  await assertSaved(other.attempt, { "1": "one" });
  assert.ok(other.attempt.secondsLeft() > 0);
}

/** An answer of another tab makes the owner send, also if that tab is closed at once. */
async function woken_owner(): Promise<void> {
  withLocks();
  const [owner, other] = (await openTabs(2)) as [Opened, Opened];
  await other.attempt.answer(1, "one");
  await other.attempt.close();
  await until(() => owner.attempt.session!.answers["1"] === "one");
  await assertSaved(owner.attempt, { "1": "one" });
}

/** An answer that the store of another tab does not take reaches the owner all the same. */
async function full_follower(): Promise<void> {
  withLocks();
  const [memory, name, user] = [new Memory(), newName(), newUser()];
  const owner = openTab(name, new Database(memory), {});
  await finish(() => owner.attempt.open(user, QUIZ));
  const full = new Database(memory);
  full.setItem = () => Promise.reject(new DOMException("full", "QuotaExceededError"));
  const other = openTab(name, full, {});
  owner.attempt.client = NOWHERE;
  await owner.attempt.flush();
  await other.attempt.answer(1, "one");
  await until(() => owner.attempt.unsaved["1"] === "one" && !other.attempt.storeFailed);
  await other.attempt.close();
  owner.attempt.client = CLIENT;
  await finish(() => owner.attempt.flush());
  await assertSaved(owner.attempt, { "1": "one" });
}

/** Entries that the store does not remove are sent once, also after a restart. */
async function entries_that_stay(): Promise<void> {
  withLocks();
  const database = new Database();
  database.removeItem = () => Promise.reject(new Error("read only"));
  const [owner, other] = (await openTabs(2, database)) as [Opened, Opened];
  await script([]);
  await other.attempt.answer(1, "one");
  for (let times = 0; times < 5; times++) await finish(() => owner.attempt.flush());
  await until(() => !other.attempt.pending);
  await owner.attempt.close();
  await other.attempt.answer(2, "two");
  for (let times = 0; times < 5; times++) await finish(() => other.attempt.flush());
  assert.deepEqual((await requests("PATCH")).map(({ body }) => JSON.parse(body).answers), [{ "1": "one" }, { "2": "two" }]);
}

/** Locks that the browser denies are no reason to send nothing. */
async function denied_locks(): Promise<void> {
  withDeniedLocks();
  const [only] = (await openTabs(1)) as [Opened];
  await only.attempt.answer(1, "one");
  await finish(() => only.attempt.complete());
  await assertSaved(only.attempt, { "1": "one" }, "completed");
}

/** Messages that no tab of this version sends change nothing. */
async function unknown_messages(): Promise<void> {
  withLocks();
  const faults: unknown[] = [];
  process.on("unhandledRejection", (reason) => faults.push(reason));
  const [name, user, database] = [newName(), newUser(), new Database()];
  const tabs = [openTab(name, database, {}), openTab(name, database, {})] as const;
  const [owner, other] = tabs;
  for (const { attempt } of tabs) await finish(() => attempt.open(user, QUIZ));
  const channel = new BroadcastChannel(`${name}.v1`);
  const event = { type: "changed" };
  for (const message of [
    ...[null, 7, "joined", [], {}, { type: "hello" }, { type: "result", id: "1" }, { type: "published" }],
    ...[{ type: "published", state: {} }, { type: "published", state: { state: {}, event, received: [] } }],
    ...[{ type: "call", id: "1", method: "close", parameters: [] }, { type: "call", id: "2", method: "flush" }],
    ...[{ type: "answered" }, { type: "answered", entries: [null, [], ["key", { question: 1 }]] }],
  ]) {
    channel.postMessage(message);
  }
  await sleep(100);
  assert.equal(other.attempt.session!.id, owner.attempt.session!.id);
  await other.attempt.answer(1, "one");
  await finish(() => other.attempt.complete());
  await assertSaved(owner.attempt, { "1": "one" }, "completed");
  assert.deepEqual(faults, []);
}

/** Tabs with another version of the class have a lock, a channel and content of their own. */
async function other_version(): Promise<void> {
  withLocks();
  const [name, database] = [newName(), new Database()];
  const foreign = { [`${name}.v2`]: "{", [`${name}.v2.inbox.a.0`]: "{" };
  for (const [key, content] of Object.entries(foreign)) database.memory.setItem(key, content);
  for (const version of [name, `${name}.v2`]) void navigator.locks.request(version, {}, () => new Promise(() => undefined));
  const { attempt } = openTab(name, database, {});
  await attempt.answer(1, "one");
  await finish(() => attempt.open(newUser(), QUIZ));
  await finish(() => attempt.complete());
  await assertSaved(attempt, { "1": "one" }, "completed");
  for (const [key, content] of Object.entries(foreign)) assert.equal(database.memory.getItem(key), content);
}

/** The wait that the service asked for holds for the answers of all tabs. */
async function waiting_tabs(): Promise<void> {
  withLocks();
  const [owner, other] = (await openTabs(2)) as [Opened, Opened];
  await script(["RateLimitedError"], { "retry-after": "3600" });
  await owner.attempt.answer(1, "one");
  assert.ok((await owner.attempt.flush()) >= 300);
  for (let question = 2; question < 12; question++) {
    await owner.attempt.answer(question, "more");
    await other.attempt.answer(question + 10, "more");
    assert.ok((await other.attempt.flush()) > 200);
  }
  assert.equal((await requests("PATCH")).length, 1);
}

/** The time left is never too long in a tab that does not own the queue: after sleep, and with a date set back. */
async function clock_of_a_follower(): Promise<void> {
  withLocks();
  const [owner, other] = (await openTabs(2)) as [Opened, Opened];
  await until(() => other.attempt.session !== null);
  const before = owner.attempt.secondsLeft();
  assert.ok(before > 1700 && other.attempt.secondsLeft() <= before + 1);
  Date.now = () => now() - 7_200_000;
  assert.ok(other.attempt.secondsLeft() <= before + 1);
  await owner.attempt.answer(1, "published with this date");
  await until(() => Object.hasOwn(other.attempt.answers, "1"));
  assert.ok(other.attempt.secondsLeft() <= before + 1);
  Date.now = () => now() + 1_200_000;
  assert.ok(other.attempt.secondsLeft() <= before - 1199);
  Date.now = now;
}

/** A tab without locks that slept for longer than its lease goes on, and loses nothing that only it has. */
async function expired_lease(): Promise<void> {
  withLeases();
  const database = new Database();
  const [owner, other] = (await openTabs(2, database)) as [Opened, Opened];
  database.memory.full = true;
  owner.attempt.client = NOWHERE;
  await owner.attempt.answer(1, "in memory only");
  await owner.attempt.flush();
  assert.deepEqual([owner.attempt.storeFailed, owner.attempt.unsaved], [true, { "1": "in memory only" }]);
  Date.now = () => now() + 60_000; // both tabs slept: either of them is the owner afterwards
  database.memory.full = false;
  owner.attempt.client = CLIENT;
  await owner.attempt.answer(2, "after the sleep");
  for (const { attempt } of [other, owner]) await finish(() => attempt.flush());
  await until(() => !owner.attempt.pending && !other.attempt.pending);
  Date.now = now;
  await assertSaved(owner.attempt, { "1": "in memory only", "2": "after the sleep" });
}

await run(
  ...[slow_shared_store, closed_tabs, suspended_owner, suspended_while_sending, follower_hands_in, date_set_back],
  ...[same_millisecond, closed_before_written, new_owner, woken_owner, full_follower, entries_that_stay, denied_locks],
  ...[unknown_messages, other_version, waiting_tabs, clock_of_a_follower, expired_lease],
);
process.exit(0);
