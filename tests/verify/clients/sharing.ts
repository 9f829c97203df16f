/** Answers of several tabs of a device: node sharing.js URL SCENARIO. tabs.ts has the browser's part. */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import { Attempt, type AnswerChange } from "session-service-client";

import {
  assertSaved, CLIENT, Database, finish, Memory, never, newName, newUser, NOWHERE, QUIZ, requests, run, script, until,
} from "./harness.js";
import { openTab, openTabs, Tab, withLocks, type Opened } from "./tabs.js";

const now = Date.now;

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

/** Answers that closed tabs have left are saved, unless there is a later one; content that no tab has written is ignored. */
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

/** A learner hands in with a tab that does not own the queue, while the device is offline. */
async function follower_hands_in(): Promise<void> {
  withLocks();
  const [owner, other] = (await openTabs(2)) as [Opened, Opened];
  const { client } = owner.attempt;
  await other.attempt.answer(1, "one");
  await finish(() => other.attempt.flush());
  owner.attempt.client = NOWHERE;
  assert.equal(other.attempt.pending, false);
  const completing = other.attempt.complete();
  assert.equal(other.attempt.pending, true);
  assert.ok((await completing) > 0);
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

/** An answer given before the store was read counts, also if the date was set back since the last one. */
async function date_set_back_in_between(): Promise<void> {
  withLocks();
  for (const collected of [true, false]) {
    const [memory, name, user] = [new Memory(), newName(), newUser()];
    const before = new Tab();
    const first = before.run(() => new Attempt(CLIENT, new Database(memory), name));
    if (collected) await finish(() => first.open(user, QUIZ));
    await first.answer(1, "before");
    await before.run(() => first.close());
    Date.now = () => now() - 3_600_000;
    const attempt = new Tab().run(() => new Attempt(CLIENT, new Database(memory), name));
    attempt.answer(1, "one");
    await attempt.answer(1, "last");
    await finish(() => attempt.open(user, QUIZ));
    await finish(() => attempt.flush());
    Date.now = now;
    await assertSaved(attempt, { "1": "last" });
    await attempt.close();
  }
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
  const closing = [...tabs.entries()].reverse().map(([question, { attempt }]) => {
    void attempt.answer(question, "old");
    void attempt.answer(question, "new");
    return attempt.close();
  });
  const { attempt } = openTab(name, new Database(memory));
  await finish(() => attempt.open(user, QUIZ));
  await closing[0]; // the follower may write after the queue was given up
  await finish(() => attempt.flush());
  await assertSaved(attempt, { "0": "new", "1": "new" });
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
  const owner = openTab(name, new Database(memory));
  await finish(() => owner.attempt.open(user, QUIZ));
  const full = new Database(memory);
  full.setItem = () => Promise.reject(new DOMException("full", "QuotaExceededError"));
  const other = openTab(name, full);
  owner.attempt.client = NOWHERE;
  await owner.attempt.flush();
  await other.attempt.answer(1, "one");
  await until(() => owner.attempt.unsaved["1"] === "one" && !other.attempt.storeFailed);
  await other.attempt.close();
  owner.attempt.client = CLIENT;
  await finish(() => owner.attempt.flush());
  await assertSaved(owner.attempt, { "1": "one" });
}

/** Entries that the store does not remove are sent once, also after a restart and in a new attempt. */
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
  const { user_id } = other.attempt.session!;
  await finish(() => other.attempt.complete());
  await finish(() => other.attempt.open(user_id, QUIZ, { anew: true }));
  await finish(() => other.attempt.flush());
  assert.deepEqual((await requests("PATCH")).map(({ body }) => JSON.parse(body).answers), [{ "1": "one" }, { "2": "two" }]);
}

/** An answer and a completion of one attempt, which reach the owner late, do not count in the next attempt. */
async function next_attempt(): Promise<void> {
  withLocks();
  const [owner, other] = (await openTabs(2)) as [Opened, Opened];
  const { id, user_id } = owner.attempt.session!;
  await until(() => other.attempt.session !== null);
  other.tab.suspend();
  await finish(() => owner.attempt.complete());
  await finish(() => owner.attempt.open(user_id, QUIZ, { anew: true }));
  assert.notEqual(owner.attempt.session!.id, id);
  await other.attempt.answer(1, "of the first attempt");
  void other.attempt.complete();
  await owner.attempt.answer(2, "of the second attempt");
  await finish(() => owner.attempt.flush());
  await assertSaved(owner.attempt, { "2": "of the second attempt" });
  assert.deepEqual([owner.attempt.ended, owner.attempt.lost], [false, { "1": "of the first attempt" }]);
}

/** Answers of two tabs to one question are no conflict: no other device has answered. */
async function two_tabs_one_question(): Promise<void> {
  withLocks();
  const [name, user, database] = [newName(), newUser(), new Database()];
  const tabs = [openTab(name, database, {}, never), openTab(name, database, {}, never)] as const;
  const [owner, other] = tabs;
  for (const { attempt } of tabs) await finish(() => attempt.open(user, QUIZ));
  other.tab.suspend(); // it does not see the answer of the owner
  await owner.attempt.answer(1, "first");
  await finish(() => owner.attempt.flush());
  await other.attempt.answer(1, "second");
  await finish(() => owner.attempt.flush());
  await assertSaved(owner.attempt, { "1": "second" });
}

/** A tab forgets an answer that the owner has, also if the owner ends before it has removed the entry from the store. */
async function owner_ends_while_collecting(): Promise<void> {
  withLocks();
  const [memory, name, user] = [new Memory(), newName(), newUser()];
  const database = new Database(memory);
  const owner = openTab(name, database);
  const next = openTab(name, new Database(memory), { takeover: 0.3 });
  const other = openTab(name, new Database(memory));
  for (const { attempt } of [owner, next, other]) await finish(() => attempt.open(user, QUIZ));
  let removed = false;
  database.removeItem = (key) => {
    memory.items.delete(key);
    removed = true;
    return new Promise(() => undefined);
  };
  await other.attempt.answer(1, "one");
  await until(() => removed);
  owner.tab.suspend();
  await finish(() => next.attempt.flush());
  await assertSaved(next.attempt, { "1": "one" });
  await until(() => !other.attempt.pending);
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

await run(
  ...[slow_shared_store, closed_tabs, follower_hands_in, date_set_back, date_set_back_in_between],
  ...[same_millisecond, closed_before_written, woken_owner, full_follower, entries_that_stay, waiting_tabs],
  ...[next_attempt, two_tabs_one_question, owner_ends_while_collecting],
);
process.exit(0);
