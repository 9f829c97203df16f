/** The ownership of the queue of a device's tabs: node owning.js URL SCENARIO. tabs.ts has the browser's part. */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import { Autosave, createClient } from "session-service-client";

import {
  assertSaved, CLIENT, Database, finish, newName, newUser, NOWHERE, QUIZ, requests, run, script, until, URL,
} from "./harness.js";
import { openTab, openTabs, withDeniedLocks, withLeases, withLocks, type Opened } from "./tabs.js";

const now = Date.now;

/** A tab that the browser has suspended is replaced, and sends nothing out of turn when it is resumed. */
async function suspended_owner(): Promise<void> {
  withLocks();
  const database = new Database();
  const [owner, other] = (await openTabs(2, database, { takeover: 0.3 })) as [Opened, Opened];
  await owner.attempt.answer(1, "saved");
  await finish(() => owner.attempt.flush());
  await owner.attempt.answer(2, "stored, and not sent");
  await sleep(1000);
  assert.deepEqual(other.sent, []); // an owner that runs is not replaced
  owner.tab.suspend();
  await other.attempt.answer(3, "of the other tab");
  await finish(() => other.attempt.flush());
  await assertSaved(other.attempt, { "1": "saved", "2": "stored, and not sent", "3": "of the other tab" });
  // It is resumed: the learner types in it before it hears of its lock.
  owner.sent.length = 0;
  await owner.attempt.answer(4, "of the tab that was resumed");
  const flushing = owner.attempt.flush();
  await sleep(50);
  owner.tab.resume();
  await flushing;
  await other.attempt.answer(5, "later");
  for (const { attempt } of [owner, other]) await finish(() => attempt.flush());
  const saved = { "1": "saved", "2": "stored, and not sent", "3": "of the other tab", "4": "of the tab that was resumed", "5": "later" };
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

/** An answer that a new attempt has taken over from a lost one replaces no answer that another tab is given later. */
async function suspended_after_a_restart(): Promise<void> {
  withLocks();
  const [owner, other] = (await openTabs(2, new Database(), { takeover: 0.3 })) as [Opened, Opened];
  const { id, user_id } = owner.attempt.session!;
  // Another device has answered.
  const params = { path: { id } };
  await CLIENT.PATCH("/api/sessions/{id}/progress", { params, body: { answers: { "1": "of another device" } } });
  await finish(() => owner.attempt.open(user_id, QUIZ));
  await script(["SessionNotFoundError", "502 page"]);
  assert.ok((await owner.attempt.open(user_id, QUIZ)) >= 1);
  assert.deepEqual(owner.attempt.unsaved, { "1": "of another device" });
  owner.tab.suspend();
  await finish(() => other.attempt.flush());
  await other.attempt.answer(1, "changed here");
  await finish(() => other.attempt.flush());
  owner.tab.resume();
  await finish(() => owner.attempt.flush());
  await until(() => !owner.attempt.pending && !other.attempt.pending);
  await assertSaved(other.attempt, { "1": "changed here" });
}

/** A tab without locks that was suspended for longer than its lease loses nothing that only it has, also if it is replaced. */
async function expired_lease(): Promise<void> {
  withLeases();
  for (const replaced of [false, true]) {
    const database = new Database();
    const [owner, other] = (await openTabs(2, database)) as [Opened, Opened];
    database.memory.full = true;
    owner.attempt.client = NOWHERE;
    await owner.attempt.answer(1, "in memory only");
    await owner.attempt.flush();
    assert.deepEqual([owner.attempt.storeFailed, owner.attempt.unsaved], [true, { "1": "in memory only" }]);
    if (replaced) owner.tab.suspend();
    Date.now = () => now() + 60_000;
    owner.attempt.client = CLIENT;
    await owner.attempt.answer(2, "after the sleep");
    await finish(() => other.attempt.flush());
    database.memory.full = false;
    owner.tab.resume();
    await finish(() => owner.attempt.flush());
    await until(() => !owner.attempt.pending && !other.attempt.pending);
    Date.now = now;
    await assertSaved(owner.attempt, { "1": "in memory only", "2": "after the sleep" });
    for (const { attempt } of [owner, other]) await attempt.close();
  }
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

/** A tab that takes over without anything to send opens the attempt, also one that has ended. */
async function idle_takeover(): Promise<void> {
  withLocks();
  for (const completed of [false, true]) {
    const [name, user, database] = [newName(), newUser(), new Database()];
    const tabs = [openTab(name, database), openTab(name, database)] as const;
    const autosaves = tabs.map(({ tab, attempt }) => {
      const autosave = new Autosave(attempt, { user_id: user, quiz_id: QUIZ });
      tab.run(() => autosave.start());
      return autosave;
    });
    const [owner, other] = tabs;
    for (const { attempt } of tabs) await until(() => attempt.session !== null);
    if (completed) await finish(() => owner.attempt.complete());
    await until(() => other.attempt.ended === completed);
    await sleep(1500); // it waits for the end
    autosaves[0]!.stop();
    await owner.attempt.close();
    await until(() => other.sent.length > 0 && other.attempt.session !== null);
    assert.equal(other.attempt.ended, completed);
    autosaves[1]!.stop();
    await other.attempt.close();
  }
}

/** A tab that was never opened sends the answers of the others once it owns the queue. */
async function never_opened(): Promise<void> {
  withLocks();
  for (const cleared of [false, true]) {
    const [name, user, database] = [newName(), newUser(), new Database()];
    const [first, owner, other] = [openTab(name, database), openTab(name, database), openTab(name, database)];
    await finish(() => first.attempt.open(user, QUIZ));
    const autosave = new Autosave(other.attempt, { user_id: user, quiz_id: QUIZ });
    if (cleared) {
      other.tab.run(() => autosave.start());
      await until(() => other.attempt.session !== null && other.attempt.problem === null);
    } else await finish(() => other.attempt.open(user, QUIZ));
    if (cleared) database.memory.items.clear(); // by the learner, in the browser
    await first.attempt.close();
    await other.attempt.answer(1, "one");
    if (!cleared) await finish(() => other.attempt.flush());
    await until(() => owner.attempt.session !== null && !other.attempt.pending);
    await assertSaved(owner.attempt, { "1": "one" });
    autosave.stop();
    for (const { attempt } of [owner, other]) await attempt.close();
  }
}

/** Locks that the browser denies are no reason to send nothing. */
async function denied_locks(): Promise<void> {
  withDeniedLocks();
  const [only] = (await openTabs(1)) as [Opened];
  await only.attempt.answer(1, "one");
  await finish(() => only.attempt.complete());
  await assertSaved(only.attempt, { "1": "one" }, "completed");
}

/** Tabs with another version of the class have a lock, a channel and content of their own. */
async function other_version(): Promise<void> {
  withLocks();
  const [name, database] = [newName(), new Database()];
  const foreign = { [`${name}.v2`]: "{", [`${name}.v2.inbox.a.0`]: "{" };
  for (const [key, content] of Object.entries(foreign)) database.memory.setItem(key, content);
  for (const version of [name, `${name}.v2`]) void navigator.locks.request(version, {}, () => new Promise(() => undefined));
  const { attempt } = openTab(name, database);
  await attempt.answer(1, "one");
  await finish(() => attempt.open(newUser(), QUIZ));
  await finish(() => attempt.complete());
  await assertSaved(attempt, { "1": "one" }, "completed");
  for (const [key, content] of Object.entries(foreign)) assert.equal(database.memory.getItem(key), content);
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
    ...[{ type: "call", id: "1", method: "close", parameters: [] }, { type: "call", id: "2", method: "flush", parameters: 7 }],
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
  // The devices slept, and the date was set back afterwards.
  Date.now = () => now() + 1_200_000;
  assert.ok(other.attempt.secondsLeft() <= before - 1199);
  await owner.attempt.answer(2, "published after the sleep");
  await until(() => Object.hasOwn(other.attempt.answers, "2"));
  Date.now = now;
  assert.ok(other.attempt.secondsLeft() <= before - 1199);
  await finish(() => owner.attempt.open(owner.attempt.session!.user_id, QUIZ));
  await until(() => other.attempt.secondsLeft() > before - 600);
  other.tab.suspend();
  await owner.attempt.answer(3, "read after the sleep");
  await sleep(50);
  Date.now = () => now() + 1_200_000;
  other.tab.resume();
  assert.ok(Object.hasOwn(other.attempt.answers, "3"));
  assert.ok(other.attempt.secondsLeft() <= before - 1199);
  Date.now = now;
}

await run(
  ...[suspended_owner, suspended_while_sending, expired_lease, new_owner, denied_locks, other_version],
  ...[unknown_messages, clock_of_a_follower, suspended_after_a_restart, idle_takeover],
  ...[never_opened],
);
process.exit(0);
