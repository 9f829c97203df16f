/** A teacher changes the time of an attempt while a learner works: node teaching.js URL SCENARIO. */
import assert from "node:assert/strict";

import { Autosave, createClient, type Attempt } from "session-service-client";

import {
  assertSaved, CLIENT, device, finish, made, Memory, newName, newUser, QUIZ, requests, run, script, shortenTimers, until, URL,
} from "./harness.js";
import { openTabs, withLocks, type Opened } from "./tabs.js";

const PAST = "2000-01-01T00:00:00.000Z";

/** Gives an order for the attempt's session. */
async function order(attempt: Attempt, name: "pause" | "resume" | "reopen" | "deadline", body: object): Promise<void> {
  const params = { path: { id: attempt.session!.id }, header: { "Idempotency-Key": newName() } };
  const { error } = await (name === "deadline"
    ? CLIENT.PUT(`/api/sessions/{id}/${name}`, { params, body })
    : CLIENT.POST(`/api/sessions/{id}/${name}`, { params, body: body as { time_limit_seconds: number; reason: string } }));
  assert.equal(error, undefined);
}

/** Makes the date and the timers of this process, but not those of `sleep`, thirty times as fast. */
function hasten(): void {
  shortenTimers();
  const [now, start] = [Date.now, Date.now()];
  Date.now = () => start + 30 * (now() - start);
}

/** An attempt on a device with its own memory, which Autosave keeps. */
async function kept(): Promise<{ attempt: Attempt; autosave: Autosave }> {
  const attempt = made(new Memory());
  const autosave = new Autosave(attempt, { user_id: newUser(), quiz_id: QUIZ });
  autosave.start();
  await until(() => attempt.session !== null && attempt.problem === null);
  return { attempt, autosave };
}

/** A pause keeps the answers and the completion: each try waits as long as the service asks, and the time stands still. */
async function paused(): Promise<void> {
  const [user, store] = [newUser(), new Memory()];
  const attempt = await device(store, user);
  await order(attempt, "pause", {});
  assert.equal(attempt.paused, false); // no reply has said so
  await script([]);
  attempt.answer(1, "one");
  for (let tries = 0; tries < 4; tries++) {
    const wait = await attempt.complete();
    assert.ok(wait >= 5 && wait <= 7.5, `waits ${wait} s`);
    assert.deepEqual([attempt.problem, attempt.paused, attempt.ended], ["SESSION_PAUSED", true, false]);
    assert.deepEqual([attempt.pending, attempt.unsaved], [true, { "1": "one" }]);
  }
  const keys = (await requests("PATCH")).map(({ key }) => key);
  assert.deepEqual([keys.length, new Set(keys).size], [4, 1]);
  const { expires_at, paused_at } = attempt.session!;
  const left = (Date.parse(expires_at!) - Date.parse(paused_at!)) / 1000;
  const { now } = Date;
  Date.now = () => now() + 1_200_000;
  assert.equal(attempt.secondsLeft(), left);
  Date.now = now;
  const again = await device(store, user);
  assert.deepEqual([again.paused, again.secondsLeft(), again.unsaved], [true, left, { "1": "one" }]);
  await order(attempt, "resume", {});
  await finish(() => again.flush());
  assert.deepEqual([again.paused, again.ended, again.lost], [false, true, {}]);
  await assertSaved(again, { "1": "one" }, "completed");
}

/** A page on which nothing is answered sees a pause, an extension in it, and the resumption, and stops by itself never. */
async function idle(): Promise<void> {
  hasten();
  const { attempt, autosave } = await kept();
  await order(attempt, "pause", {});
  await until(() => attempt.paused);
  const left = attempt.secondsLeft();
  await order(attempt, "deadline", { extra_seconds: 600 });
  await until(() => attempt.secondsLeft() > left);
  assert.equal(Math.round(attempt.secondsLeft() - left), 600);
  await order(attempt, "resume", {});
  await until(() => !attempt.paused);
  await order(attempt, "deadline", { expires_at: PAST });
  await until(() => attempt.ended);
  await order(attempt, "reopen", { time_limit_seconds: 60, reason: "a mistake" });
  await until(() => !attempt.ended);
  autosave.stop();
}

/** Each reply shows an extension, without a further request. */
async function extended(): Promise<void> {
  const attempt = await device(new Memory(), newUser());
  const left = attempt.secondsLeft();
  await order(attempt, "deadline", { extra_seconds: 600 });
  await script([]);
  attempt.answer(1, "one");
  await finish(() => attempt.flush());
  assert.ok(attempt.secondsLeft() > left + 500);
  assert.deepEqual([(await requests("GET")).length, (await requests("PATCH")).length], [0, 2]);
}

/** More time after the end lets an attempt, expired or completed, go on with its late answers. */
async function extended_late(): Promise<void> {
  for (const on_expiry of ["expire", "complete"] as const) {
    const user = newUser();
    const { error } = await CLIENT.POST("/api/sessions/start", { body: { user_id: user, quiz_id: QUIZ, on_expiry } });
    assert.equal(error, undefined);
    const attempt = await device(new Memory(), user);
    await order(attempt, "deadline", { expires_at: PAST });
    await attempt.answer(1, "too late");
    await finish(() => attempt.flush());
    assert.deepEqual([attempt.ended, attempt.lost], [true, { "1": "too late" }]);
    await order(attempt, "deadline", { time_limit_seconds: 7200 });
    await finish(() => attempt.open(user, QUIZ));
    assert.deepEqual([attempt.ended, attempt.lost, attempt.secondsLeft() > 3600], [false, {}, true]);
    await finish(() => attempt.flush());
    await assertSaved(attempt, { "1": "too late" });
  }
}

/** A session that a teacher has ended and opens again goes on with the answers that came too late. */
async function reopened(): Promise<void> {
  hasten();
  const { attempt, autosave } = await kept();
  await order(attempt, "deadline", { expires_at: PAST });
  attempt.answer(1, "too late");
  await until(() => attempt.ended);
  assert.deepEqual([attempt.lost, attempt.secondsLeft()], [{ "1": "too late" }, 0]);
  await order(attempt, "reopen", { time_limit_seconds: 600, reason: "ended too early" });
  autosave.reopen();
  await until(() => !attempt.ended && !attempt.pending);
  await assertSaved(attempt, { "1": "too late" });
  void attempt.complete();
  await until(() => attempt.ended);
  await order(attempt, "reopen", { time_limit_seconds: 600, reason: "handed in by mistake" });
  await until(() => !attempt.ended);
  assert.ok(attempt.secondsLeft() > 500);
  attempt.answer(2, "more");
  await until(() => !attempt.pending);
  await assertSaved(attempt, { "1": "too late", "2": "more" });
  autosave.stop();
}

/** Each tab of a device shows a pause and its end; together they read it as often as one, or at the same moment. */
async function tabs(): Promise<void> {
  withLocks();
  const opened = (await openTabs(3)) as [Opened, Opened, Opened];
  const [{ attempt: owner }, { attempt: follower }] = opened;
  const reads: number[] = [];
  owner.client = createClient({
    baseUrl: URL,
    fetch: (request) => (request.method === "GET" && reads.push(performance.now()), fetch(request)),
  });
  const assignment = { user_id: owner.session!.user_id, quiz_id: QUIZ };
  const loops = opened.map(({ attempt }) => new Autosave(attempt, assignment));
  for (const [index, loop] of loops.entries()) opened[index]!.tab.run(() => loop.start());
  await until(() => opened.every(({ attempt }) => attempt.session !== null && attempt.problem === null));
  await order(owner, "pause", {});
  await follower.answer(1, "one");
  await until(() => opened.every(({ attempt }) => attempt.paused && attempt.problem === "SESSION_PAUSED"));
  assert.deepEqual(opened.map(({ attempt }) => attempt.secondsLeft()), Array(3).fill(owner.secondsLeft()));
  await order(owner, "resume", {});
  await until(() => opened.every(({ attempt }) => !attempt.paused && !attempt.pending));
  await assertSaved(owner, { "1": "one" });
  await order(owner, "pause", {});
  loops[0]!.reopen();
  await until(() => owner.paused);
  reads.length = 0;
  // Two tabs may ask at the same moment.
  const gaps = () => reads.slice(1).map((time, index) => time - reads[index]!).filter((gap) => gap >= 1000);
  await until(() => gaps().length === 2);
  assert.ok(Math.min(...gaps()) >= 5000, `reads at ${reads}`);
  for (const loop of loops) loop.stop();
}

/** A page on which nothing happens sends few requests. */
async function few_requests(): Promise<void> {
  hasten();
  const { attempt, autosave } = await kept();
  const end = Date.now() + 150_000;
  await script([]);
  await until(() => Date.now() > end);
  autosave.stop();
  const sent = (await requests("GET")).length;
  assert.ok(sent > 0 && sent <= 5, `${sent} requests`);
}

await run(paused, idle, extended, extended_late, reopened, tabs, few_requests);
process.exit(0);
