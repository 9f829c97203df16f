/** What an attempt keeps: through a restored database and a crash: node keeping.js URL SCENARIO. */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import { Attempt, createClient, type AnswerChange, type AttemptEvent } from "session-service-client";

import {
  ARGUMENTS, assertSaved, CLIENT, device, finish, made, Memory, newUser, NOWHERE, QUIZ, run, script, state, URL,
} from "./harness.js";

/** Ids that are names of every object in JavaScript, and texts that look like numbers. */
const NAMES = ["__proto__", "constructor", "toString", "hasOwnProperty", "", "007", "-1", "1.0", "a b", "\u{1f600}"];

async function control(name: "backup" | "restore", content: object): Promise<void> {
  const done = await fetch(`${URL}/${name}`, { method: "PUT", body: JSON.stringify(content) });
  assert.ok(done.ok);
  await done.text();
}

/** Collects the types of the attempt's events, but for `changed`. */
function types(attempt: Attempt): string[] {
  const seen: string[] = [];
  attempt.on(({ type }) => void (type === "changed" || seen.push(type)));
  return seen;
}

/** Answers that the service had acknowledged, and has lost with its database, are sent again; also after a crash. */
async function restored(): Promise<void> {
  for (const fence of [false, true]) {
    const [user, store] = [newUser(), new Memory()];
    const first = await device(store, user);
    const elsewhere = await device(new Memory(), user);
    const id = first.session!.id;
    elsewhere.answer(9, "elsewhere, before");
    await finish(() => elsewhere.flush());
    first.answer(1, "before");
    first.answer(2, "to be cleared");
    await finish(() => first.flush());
    await control("backup", { id });
    first.answer(1, "after");
    first.answer(2, null);
    first.answer(3, { since: [null, 1] });
    await finish(() => first.flush());
    await control("restore", { id, fence });
    assert.deepEqual((await state(first))[1], { "1": "before", "2": "to be cleared", "9": "elsewhere, before" });
    first.client = NOWHERE;
    first.answer(3, "later"); // no conflict: no other device has answered
    const again = fence ? made(store) : first;
    again.client = CLIENT;
    const events = types(again);
    await finish(() => again.open(user, QUIZ));
    assert.deepEqual(again.unsaved, { "1": "after", "2": null, "3": "later" });
    again.answer(4, "later");
    await finish(() => again.complete());
    const answers = { "1": "after", "3": "later", "4": "later", "9": "elsewhere, before" };
    await assertSaved(again, answers, "completed");
    assert.deepEqual([events[0], again.lost], ["restored", {}]);
  }
}

/** An answer that another device has replaced since is not sent again after a restore. */
async function replaced(): Promise<void> {
  const user = newUser();
  const here = await device(new Memory(), user);
  here.answer(1, "mine");
  await finish(() => here.flush());
  const there = await device(new Memory(), user, () => "theirs");
  there.answer(1, "theirs");
  await finish(() => there.flush());
  await finish(() => here.open(user, QUIZ));
  await control("backup", { id: here.session!.id });
  there.answer(2, "more");
  await finish(() => there.flush());
  await finish(() => here.open(user, QUIZ));
  await control("restore", { id: here.session!.id, fence: true });
  await finish(() => here.open(user, QUIZ));
  assert.deepEqual(here.unsaved, {});
  await assertSaved(here, { "1": "theirs" });
}

/** Answers that came after the end are sent if the session runs again, unless the learner has changed them. */
async function ran_again(): Promise<void> {
  for (const restarted of [false, true]) {
    const [user, store] = [newUser(), new Memory()];
    const first = await device(store, user);
    first.answer(1, "one");
    await finish(() => first.flush());
    await control("backup", { id: first.session!.id });
    await finish(() => first.complete());
    first.answer(2, "late");
    first.answer(3, "late");
    assert.deepEqual(first.lost, { "2": "late", "3": "late" });
    await control("restore", { id: first.session!.id, fence: true });
    const again = restarted ? made(store) : first;
    await finish(() => again.open(user, QUIZ));
    again.answer(3, "changed");
    await finish(() => again.flush());
    await assertSaved(again, { "1": "one", "2": "late", "3": "changed" });
    assert.deepEqual([again.ended, again.lost], [false, {}]);
  }
}

/** A completion that was asked for offline is carried out by a later flush, also after a crash. */
async function completed_later(): Promise<void> {
  const [user, store] = [newUser(), new Memory()];
  const first = await device(store, user);
  first.client = NOWHERE;
  first.answer(1, "one");
  assert.ok((await first.complete()) >= 1);
  assert.equal(first.pending, true);
  const second = made(store);
  assert.equal(second.pending, true);
  await finish(() => second.open(user, QUIZ));
  await assertSaved(second, {});
  await finish(() => second.flush());
  await assertSaved(second, { "1": "one" }, "completed");
  assert.deepEqual([second.ended, second.pending], [true, false]);
}

/** Any text is a question, also a name that every object of JavaScript has. */
async function names_of_objects(): Promise<void> {
  const [user, store] = [newUser(), new Memory()];
  const first = await device(store, user);
  const used = NAMES.filter((name) => name !== "");
  for (const name of used) first.answer(name, `of ${name}`);
  first.client = NOWHERE;
  await first.flush();
  const second = await device(store, user);
  assert.deepEqual(Object.keys(second.unsaved).sort(), [...used].sort());
  await finish(() => second.flush());
  const answers = (await state(second))[1];
  assert.deepEqual(Object.entries(answers).sort(), used.map((name) => [name, `of ${name}`]).sort());
  second.answer("", "no question");
  await finish(() => second.flush());
  assert.deepEqual(second.refused, { "": "no question" });
  for (const name of used) second.answer(name, null);
  await finish(() => second.complete());
  await assertSaved(second, {}, "completed");
}

/** A token is asked for before the first request and after a 401; a function that fails delays, and loses nothing. */
async function asked_token(): Promise<void> {
  const [valid, stale, user] = ARGUMENTS as [string, string, string];
  const asked: string[] = [];
  const tokens = [stale, "fails", stale, valid];
  const token = async (): Promise<string> => {
    const next = tokens.shift() ?? valid;
    asked.push(next);
    if (next === "fails") throw new Error("no session of the platform");
    return next;
  };
  const attempt = new Attempt(CLIENT, new Memory(), "attempt", undefined, { token });
  attempt.answer(1, "one");
  for (const _ of [stale, stale]) {
    assert.ok((await attempt.open(user, QUIZ)) >= 1);
    assert.equal(attempt.problem, "UNAUTHENTICATED");
  }
  assert.deepEqual(attempt.unsaved, { "1": "one" });
  assert.equal(await attempt.open(user, QUIZ), 0);
  assert.equal(await attempt.complete(), 0);
  assert.deepEqual(asked, [stale, "fails", stale, valid]);
  const client = createClient({ baseUrl: URL, headers: { authorization: `Bearer ${valid}` } });
  assert.deepEqual(await state(attempt, client), ["completed", { "1": "one" }]);
}

/** Events say what happened, in order; a listener that throws stops nothing. */
async function events(): Promise<void> {
  const user = newUser();
  const seen: AttemptEvent[] = [];
  const here = await device(new Memory(), user, (_question, mine) => `${mine}, merged`);
  const there = await device(new Memory(), user);
  const log = console.error;
  let thrown = 0;
  console.error = () => void thrown++;
  here.on(() => {
    throw new RangeError("a fault of the page");
  });
  const off = here.on((event) => void (event.type === "changed" || seen.push(event)));
  there.answer(1, "theirs");
  await finish(() => there.flush());
  here.answer(1, "mine");
  here.answer(2, "two\u0000");
  await script(["lost reply"]);
  await finish(() => here.flush());
  await finish(() => there.open(user, QUIZ));
  await finish(() => there.complete());
  here.answer(3, "too late");
  await finish(() => here.flush());
  off();
  await finish(() => here.open(user, QUIZ));
  console.error = log;
  const shown = seen.map(({ type, ...event }) => [type, "answers" in event ? event.answers : null]);
  const [merged] = seen.filter(({ type }) => type === "merged");
  assert.deepEqual(
    merged,
    { type: "merged", question: "1", mine: "mine", theirs: "theirs", answer: "mine, merged" },
  );
  assert.ok(shown.some(([type]) => type === "waiting"));
  assert.deepEqual(
    shown.filter(([type]) => type !== "waiting" && type !== "merged"),
    [
      ["saved", { "1": "mine, merged" }],
      ["refused", { "2": "two\u0000" }],
      ["ended", null],
    ],
  );
  assert.deepEqual([seen.at(-1)!.type, here.lost, thrown > 0], ["ended", { "3": "too late" }, true]);
}

/** Without a rule of its own the attempt keeps this device's answer, and the other devices' other answers. */
async function default_merge(): Promise<void> {
  const user = newUser();
  const here = new Attempt(CLIENT, new Memory(), "attempt");
  const there = new Attempt(CLIENT, new Memory(), "attempt");
  for (const attempt of [here, there]) await finish(() => attempt.open(user, QUIZ));
  const answer = async (attempt: Attempt, answers: { [question: string]: AnswerChange }): Promise<void> => {
    for (const [question, value] of Object.entries(answers)) attempt.answer(question, value);
    await finish(() => attempt.flush());
  };
  await answer(there, { "1": "theirs", "2": "theirs" });
  await answer(here, { "1": "mine", "3": "mine" });
  await assertSaved(here, { "1": "mine", "2": "theirs", "3": "mine" });
}

/** A decision that is never made holds up no other answer; one that is made late is used. */
async function late_decision(): Promise<void> {
  const user = newUser();
  const decisions: ((answer: AnswerChange) => void)[] = [];
  const here = await device(new Memory(), user, () => new Promise((resolve) => void decisions.push(resolve)));
  const there = await device(new Memory(), user);
  there.answer(1, "theirs");
  await finish(() => there.flush());
  here.answer(1, "mine");
  here.answer(2, "two");
  while ((await here.flush()) && here.problem !== "UNDECIDED") await sleep(1);
  await assertSaved(here, { "1": "theirs", "2": "two" });
  assert.deepEqual([here.unsaved, decisions.length], [{ "1": "mine" }, 1]);
  decisions[0]!("both");
  await finish(() => here.complete());
  await assertSaved(here, { "1": "both", "2": "two" }, "completed");
  assert.equal(decisions.length, 1);
}

/** A session with a status of a later release is one that runs. */
async function unknown_status(): Promise<void> {
  const paused = createClient({
    baseUrl: URL,
    fetch: async (request) => {
      const reply = await fetch(request);
      const text = (await reply.text()).replaceAll('"in_progress"', '"later"');
      return new Response(text, reply);
    },
  });
  const attempt = made(new Memory());
  attempt.client = paused;
  attempt.answer(1, "one");
  await finish(() => attempt.open(newUser(), QUIZ));
  await finish(() => attempt.flush());
  assert.deepEqual([attempt.session!.status, attempt.ended, attempt.pending], ["later", false, false]);
  await finish(() => attempt.complete());
  await assertSaved(attempt, { "1": "one" }, "completed");
}

await run(
  ...[restored, replaced, completed_later, names_of_objects, asked_token, events, default_merge, unknown_status],
  ...[late_decision, ran_again],
);
process.exit(0);
