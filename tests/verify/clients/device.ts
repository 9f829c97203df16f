/** Attempts of docs/client.md on devices that fail or are shared: node device.js URL SCENARIO. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import { createClient, type AnswerChange, type AnswerChanges } from "session-service-client";

import {
  assertSaved, CLIENT, device, finish, made, Memory, newUser, NOWHERE, QUIZ, run, scenario, script, state, URL,
} from "./harness.js";

// As on a page on plain http, before anything else.
if (scenario === "insecure_page") Reflect.deleteProperty(Object.getPrototypeOf(globalThis.crypto), "randomUUID");

// Contents of a store that an attempt cannot have written.
const UNREADABLE = [
  "",
  '{"id": null, "unsent": {"1": {"answer": "o',
  "[1, 2]",
  '"text"',
  "null",
  '{"unsent": {"1": "one"}}',
  '{"unsent": [], "lost": {}}',
  '{"sent": {"changes": {"1": {"answer": "one", "seen": null}}}}',
  '{"id": 7}',
  "[".repeat(100_000),
];

/** On a page on plain http, which has no crypto.randomUUID, every answer is kept, saved and completed. */
async function insecure_page(): Promise<void> {
  assert.equal(crypto.randomUUID, undefined);
  const attempt = await device(new Memory(), newUser());
  attempt.answer(1, "one");
  await attempt.flush();
  attempt.answer(2, "two");
  await attempt.complete();
  attempt.answer(3, "three");
  await finish(() => attempt.complete());
  const [status, answers] = await state(attempt);
  assert.deepEqual([status, { ...answers, ...attempt.lost }], ["completed", { "1": "one", "2": "two", "3": "three" }]);
}

/** An answer without a decision stays unsaved, holds up no other answer, and is not handed in without. */
async function undecided(): Promise<void> {
  const user = newUser();
  let decision: () => AnswerChange | Promise<AnswerChange> = () => "mine";
  const here = await device(new Memory(), user, (question) => (question === "1" ? decision() : "mine"));
  const there = await device(new Memory(), user);
  for (const question of [1, 2]) there.answer(question, "theirs");
  await finish(() => there.flush());
  for (const question of [1, 2, 3]) here.answer(question, "mine");
  const saved: AnswerChanges = { "1": "theirs", "2": "mine", "3": "mine" };
  const bad: unknown[] = [undefined, null, NaN, [Infinity], 7n, Promise.resolve(undefined)];
  const decisions = bad.map((value) => () => value as AnswerChange);
  const throws = (): never => assert.fail("a fault of the program");
  const [clock, steady] = [performance.now.bind(performance), { ahead: 0 }];
  performance.now = () => clock() + steady.ahead;
  for (decision of [throws, () => Promise.reject(new RangeError("dismissed")), ...decisions]) {
    steady.ahead += 60_000; // the merge is asked again
    await here.flush();
    here.answer(4, decision.toString());
    while ((await here.flush()) && here.problem !== "UNDECIDED") await sleep(1);
    assert.deepEqual([here.unsaved, here.refused], [{ "1": "mine" }, {}]);
    assert.ok((await here.complete()) > 0);
    await assertSaved(here, { ...saved, "4": decision.toString() });
  }
  decision = () => "mine";
  steady.ahead += 60_000;
  await finish(() => here.complete());
  await assertSaved(here, { ...saved, "1": "mine", "4": decisions[0]!.toString() }, "completed");
  assert.deepEqual([here.lost, here.refused], [{}, {}]);
}

/** A decision may take its time; the learner may answer again meanwhile. */
async function slow_decision(): Promise<void> {
  const user = newUser();
  const asked: AnswerChange[] = [];
  const here = await device(new Memory(), user, async (_question, mine) => {
    if (asked.push(mine) === 1) here.answer(1, "changed during the decision");
    await sleep(1);
    return mine;
  });
  const there = await device(new Memory(), user);
  there.answer(1, "theirs");
  await finish(() => there.flush());
  here.answer(1, "mine");
  here.answer(2, "two");
  await finish(() => here.flush());
  await assertSaved(here, { "1": "changed during the decision", "2": "two" });
  assert.deepEqual(asked, ["mine", "changed during the decision"]);
}

/** An answer that the learner changes before it is saved is no conflict with another device. */
async function answered_twice(): Promise<void> {
  const attempt = await device(new Memory(), newUser());
  attempt.answer(1, "first");
  attempt.answer(1, "second");
  await finish(() => attempt.flush());
  await assertSaved(attempt, { "1": "second" });
  await script(["lost reply"]);
  attempt.answer(1, "third");
  await attempt.flush();
  attempt.answer(1, "fourth");
  attempt.answer(1, "fifth");
  await finish(() => attempt.flush());
  await assertSaved(attempt, { "1": "fifth" });
  attempt.answer(2, "x\u0000");
  attempt.client = NOWHERE;
  await attempt.flush();
  attempt.answer(2, "shorter");
  attempt.client = CLIENT;
  await finish(() => attempt.flush());
  await assertSaved(attempt, { "1": "fifth", "2": "shorter" });
  assert.deepEqual(attempt.refused, {}); // the learner has corrected it
  attempt.answer(2, "y\u0000");
  await finish(() => attempt.flush());
  assert.deepEqual(attempt.refused, { "2": "y\u0000" });
  attempt.answer(2, "shorter");
  assert.deepEqual(attempt.refused, {});
}

/** A full store stops neither the learner nor the saves; it is complete once there is room. */
async function full_store(): Promise<void> {
  const [user, store] = [newUser(), new Memory()];
  const attempt = await device(store, user);
  store.full = true;
  attempt.answer(1, "one");
  assert.deepEqual([attempt.storeFailed, attempt.unsaved], [true, { "1": "one" }]);
  await finish(() => attempt.flush());
  await assertSaved(attempt, { "1": "one" });
  attempt.client = NOWHERE;
  attempt.answer(2, "two");
  assert.ok((await attempt.flush()) >= 1);
  store.full = false;
  attempt.answer(3, "three");
  assert.equal(attempt.storeFailed, false);
  const again = await device(store, user);
  await finish(() => again.complete());
  await assertSaved(again, { "1": "one", "2": "two", "3": "three" }, "completed");
}

/** Content that cannot be read is moved aside whole, and the attempt goes on. */
async function unreadable_store(): Promise<void> {
  for (const content of UNREADABLE) {
    const store = new Memory();
    store.setItem("attempt", content);
    const attempt = await device(store, newUser());
    attempt.answer(2, "two");
    await finish(() => attempt.flush());
    await assertSaved(attempt, { "2": "two" });
    assert.equal(store.getItem(attempt.setAside!), content);
    assert.equal(made(store).setAside, null);
  }
  const [denied, full] = [new Memory(), new Memory()];
  denied.getItem = () => assert.fail("access denied");
  full.setItem("attempt", UNREADABLE[1]!);
  full.full = true;
  for (const store of [denied, full]) {
    const attempt = await device(store, newUser());
    attempt.answer(1, "one");
    store.full = false;
    await finish(() => attempt.flush());
    await assertSaved(attempt, { "1": "one" });
    assert.equal(attempt.storeFailed, store === denied);
    if (store === full) assert.equal(full.getItem(attempt.setAside!), UNREADABLE[1]);
  }
  assert.equal(full.getItem("attempt"), UNREADABLE[1]);
}

/** Content of the guide's first version, without a user, is read, and what waits in it is saved. */
async function older_file(): Promise<void> {
  const { id, version, user_id } = (await device(new Memory(), newUser())).session!;
  const changes = { "3": { answer: ["three"], seen: null } };
  const sent = { key: "key-of-the-first-version", changes, version };
  const unsent = { "4": { answer: "four", seen: null } };
  const store = new Memory();
  store.setItem("attempt", JSON.stringify({ id, unsent, sent, refused: { "5": "" }, lost: {} }));
  const attempt = await device(store, user_id);
  await finish(() => attempt.flush());
  await assertSaved(attempt, { "3": ["three"], "4": "four" });
  assert.deepEqual([attempt.refused, attempt.setAside], [{ "5": "" }, null]);
}

/** After a 404 for its session an attempt starts anew with all that it knows, and completes with it. */
async function stale_id(): Promise<void> {
  const store = new Memory();
  const unsent = { "1": { answer: "one", seen: null } };
  store.setItem("attempt", JSON.stringify({ id: randomUUID(), unsent }));
  const attempt = await device(store, newUser());
  await finish(() => attempt.flush());
  await assertSaved(attempt, { "1": "one" });
  attempt.answer(2, "two");
  await script(["SessionNotFoundError"]);
  assert.ok((await attempt.complete()) >= 1);
  assert.deepEqual(attempt.unsaved, { "1": "one", "2": "two" });
  await finish(() => attempt.complete());
  await assertSaved(attempt, { "1": "one", "2": "two" }, "completed");
  const { user_id } = attempt.session!;
  await script(["SessionNotFoundError", "502 page"]);
  assert.ok((await attempt.open(user_id, QUIZ)) >= 1);
  assert.deepEqual([attempt.ended, attempt.session], [false, null]);
}

/** Answers that wait for one learner are never sent for another, and are moved aside. */
async function another_learner(): Promise<void> {
  const [ada, bob] = [newUser(), newUser()];
  const [store, older] = [new Memory(), new Memory()];
  let first = await device(store, ada);
  first.client = NOWHERE;
  first.answer(1, "ada's");
  await first.flush();
  const unsent = { "1": { answer: "ada's", seen: null } };
  older.setItem("attempt", JSON.stringify({ id: first.session!.id, unsent }));
  for (const shared of [store, older]) {
    const second = await device(shared, bob);
    second.answer(2, "bob's");
    await finish(() => second.flush());
    await assertSaved(second, { "2": "bob's" });
    assert.equal(second.session!.user_id, bob);
    await assertSaved(first, {});
    const again = new Memory();
    again.setItem("attempt", shared.getItem(second.setAside!)!);
    first = await device(again, ada);
    assert.deepEqual(first.unsaved, { "1": "ada's" });
  }
}

const attempts = async (user_id: string): Promise<string[]> => {
  const { data } = await CLIENT.GET("/api/sessions", { params: { query: { user_id } } });
  return data!.items.map(({ status }) => status);
};

/** An attempt whose time is over is shown on another device; only the learner's wish starts a new one. */
async function second_device(): Promise<void> {
  const user = newUser();
  const body = { user_id: user, quiz_id: QUIZ, time_limit_seconds: 1 };
  await CLIENT.POST("/api/sessions/start", { body });
  const first = await device(new Memory(), user);
  first.answer(1, "in time, or too late on a busy machine");
  await finish(() => first.flush());
  while ((await state(first))[0] === "in_progress") await sleep(100);
  const second = await device(new Memory(), user);
  assert.deepEqual([second.ended, second.secondsLeft()], [true, 0]);
  assert.deepEqual(await state(second), await state(first));
  assert.deepEqual(await attempts(user), ["expired"]);
  for (const replies of [["lost reply"], ["pass", "lost reply"]]) {
    await script(replies);
    assert.ok((await second.open(user, QUIZ, { anew: true })) >= 1);
  }
  second.answer(2, "anew");
  await finish(() => second.flush());
  await assertSaved(second, { "2": "anew" });
  const third = await device(new Memory(), user);
  assert.deepEqual([third.ended, third.session!.id], [false, second.session!.id]);
  await finish(() => third.complete());
  const fourth = await device(new Memory(), user);
  await assertSaved(fourth, { "2": "anew" }, "completed");
  assert.deepEqual([fourth.ended, await attempts(user)], [true, ["completed", "expired"]]);
}

/** The time left is never more than there is: after sleep, a date that is set back, a slow reply. */
async function clocks(): Promise<void> {
  const user = newUser();
  const attempt = await device(new Memory(), user);
  const before = attempt.secondsLeft();
  assert.ok(before > 1790 && before < 1800);
  const real = Date.now;
  Date.now = () => real() + 1_200_000; // asleep: performance.now() stands still
  assert.ok(attempt.secondsLeft() > 0 && attempt.secondsLeft() <= before - 1199);
  Date.now = () => real() - 7_200_000; // a date that is set back
  assert.ok(attempt.secondsLeft() <= before + 1);
  Date.now = real;
  attempt.client = createClient({
    baseUrl: URL,
    fetch: async (request) => {
      const reply = await fetch(request);
      Date.now = () => real() + 20_000;
      return reply;
    },
  });
  await finish(() => attempt.open(user, QUIZ));
  assert.ok(attempt.secondsLeft() > 1750 && attempt.secondsLeft() <= 1780);
}

/** An answer that is no text is refused alone, and a list that changes later changes no write. */
async function unsendable(): Promise<void> {
  const attempt = await device(new Memory(), newUser());
  attempt.answer(1, "half an emoji \ud83d");
  attempt.answer(2, "two");
  await finish(() => attempt.flush());
  await assertSaved(attempt, { "2": "two" });
  assert.deepEqual(attempt.refused, { "1": "half an emoji \ud83d" });
  for (const wrong of [undefined, () => 1, 1n]) assert.throws(() => attempt.answer(3, wrong as never));
  const choices = ["a"];
  attempt.answer(4, choices);
  await script(["lost reply"]);
  await attempt.flush();
  choices.push("b");
  await finish(() => attempt.flush());
  await assertSaved(attempt, { "2": "two", "4": ["a"] });
  assert.deepEqual(attempt.unsaved, {});
}

await run(
  ...[insecure_page, undecided, slow_decision, answered_twice, full_store, unreadable_store, older_file, stale_id],
  ...[another_learner, second_device, clocks, unsendable],
);
