/** Learners on a bad network, with the class of docs/client.md: node learners.js URL. */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import { Attempt, createClient, type AnswerChange, type SessionService } from "session-service-client";

import { Memory } from "./harness.js";

const client = createClient({ baseUrl: process.argv[2]! });
const nowhere = createClient({ baseUrl: "http://127.0.0.1:9" });
const questions = 12;
const asked: string[] = [];

function theirsStay(question: string, _mine: AnswerChange, theirs: AnswerChange): AnswerChange {
  asked.push(question);
  return theirs;
}

/** Repeats a call until it returns 0; a second of the class is 10 ms here. */
async function atLast(attempted: () => Promise<number>): Promise<void> {
  for (let wait = await attempted(); wait; wait = await attempted()) await sleep(wait * 10);
}

async function opened(store: Memory, user: string): Promise<Attempt> {
  const attempt = new Attempt(client, store, "attempt", theirsStay);
  await atLast(() => attempt.open(user, 7));
  return attempt;
}

async function answered(attempt: Attempt, question: number, answer: AnswerChange): Promise<void> {
  attempt.answer(question, answer);
  await atLast(() => attempt.flush());
}

const use = (attempt: Attempt, other: SessionService): void => void Object.assign(attempt, { client: other });
const stored = (attempt: Attempt) => attempt.session!.answers;

/** Answers given offline, sent without a response, or in overlapping calls, are kept. */
async function throughACrash(): Promise<void> {
  const user = `typescript-${crypto.randomUUID()}`;
  const device = new Memory();
  const first = await opened(device, user);
  for (let question = 0; question < questions; question++) {
    first.answer(question, `answer ${question}`);
    void first.flush();
    if (question % 3 === 0) await sleep(3);
  }
  await atLast(() => first.flush());
  use(first, nowhere);
  first.answer(questions, ["sent", "to nowhere"]);
  assert.ok((await first.flush()) >= 1);
  first.answer(questions + 1, "not sent");
  const offline = new Attempt(nowhere, device, "attempt", theirsStay);
  offline.answer(questions + 2, "answered offline after a crash");
  assert.ok((await offline.flush()) >= 1);
  const attempt = await opened(device, user);
  await atLast(() => attempt.flush());
  const wanted = Object.fromEntries([...Array(questions).keys()].map((n) => [n, `answer ${n}`]));
  const more = { "12": ["sent", "to nowhere"], "13": "not sent", "14": "answered offline after a crash" };
  assert.deepEqual(stored(attempt), { ...wanted, ...more });
  assert.deepEqual(asked, []);
  assert.ok(attempt.secondsLeft() > 1700 && attempt.secondsLeft() < 1800);
}

/** No device overwrites answers that it has not seen, even after a restart or with a write in flight. */
async function withAnotherDevice(): Promise<void> {
  const user = `typescript-${crypto.randomUUID()}`;
  const device = new Memory();
  const elsewhere = new Memory();
  const before = await opened(device, user);
  const there = await opened(elsewhere, user);
  before.answer(1, "here, and restarted");
  await answered(there, 1, "there");
  const here = await opened(device, user);
  await answered(here, 2, "here");
  assert.deepEqual([stored(here), asked], [{ "1": "there", "2": "here" }, ["1"]]);

  use(here, nowhere);
  here.answer(3, "on its way");
  await here.flush();
  here.answer(4, "here");
  here.answer(3, "here, changed");
  use(here, client);
  await answered(there, 4, "there");
  await atLast(() => here.flush());
  assert.deepEqual(stored(here), { "1": "there", "2": "here", "3": "here, changed", "4": "there" });
  assert.deepEqual(asked, ["1", "4"]);
  await atLast(() => here.complete());
  assert.deepEqual([here.ended, here.lost], [true, {}]);
  await answered(there, 5, "after the end");
  await answered(there, 6, "long after it");
  const late = { "5": "after the end", "6": "long after it" };
  assert.deepEqual([there.lost, new Attempt(client, elsewhere, "attempt", theirsStay).lost], [late, late]);
}

/** A rejected answer is reported and delays no other; many or large answers are split. */
async function whatDoesNotFit(): Promise<void> {
  const attempt = await opened(new Memory(), `typescript-${crypto.randomUUID()}`);
  attempt.answer(1000, "\u0000");
  for (let question = 0; question < 501; question++) attempt.answer(question, "x".repeat(600));
  attempt.answer(1001, ["x".repeat(10_000), { "\u0000": 1 }]);
  await atLast(() => attempt.flush());
  assert.deepEqual(attempt.refused, { "1000": "\u0000", "1001": ["x".repeat(10_000), { "\u0000": 1 }] });
  assert.equal(Object.keys(stored(attempt)).length, 501);
}

/** Starts a session with a time limit in seconds; returns 0, or 1 after a lost response. */
async function started(user_id: string, time_limit_seconds: number): Promise<number> {
  const body = { user_id, quiz_id: 7, time_limit_seconds, if_active: "resume" } as const;
  const start = client.POST("/api/sessions/start", { body });
  return start.then(() => 0).catch(() => 1);
}

/** An attempt that expired before the network was back reports which answers are not saved. */
async function tooLate(limit = 2): Promise<void> {
  const user = `typescript-${crypto.randomUUID()}`;
  await atLast(() => started(user, limit));
  const [attempt, watch] = [await opened(new Memory(), user), await opened(new Memory(), user)];
  await answered(attempt, 1, "in time");
  // On a busy machine even the first answer may be late.
  if (attempt.ended && limit < 32) return tooLate(limit * 2);
  attempt.answer(2, "too late");
  while (!watch.ended) {
    await sleep(100);
    await atLast(() => watch.open(user, 7));
  }
  await atLast(() => attempt.flush());
  assert.deepEqual(stored(attempt), { "1": "in time" });
  assert.deepEqual([attempt.ended, attempt.lost], [true, { "2": "too late" }]);
}

await tooLate();
await throughACrash();
await withAnotherDevice();
await whatDoesNotFit();
