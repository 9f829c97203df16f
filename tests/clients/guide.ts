/** A learner with a bad network, on the client of docs/client.md: node guide.js URL SESSION_THAT_ENDS_SOON. */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import { createClient, type AnswerChange } from "session-service-client";

import { Attempt } from "./attempt.js";

const client = createClient({ baseUrl: process.argv[2]! });
const user = `typescript-${crypto.randomUUID()}`;
const questions = 12;

class Memory {
  private items = new Map<string, string>();
  getItem = (name: string): string | null => this.items.get(name) ?? null;
  setItem = (name: string, value: string): void => void this.items.set(name, value);
}

const device = new Memory();
const theirsStay = (_question: string, _mine: AnswerChange, theirs?: AnswerChange): AnswerChange => theirs ?? null;

async function opened(store: Memory): Promise<Attempt> {
  const attempt = new Attempt(client, store, "attempt", theirsStay);
  while (!(await attempt.open(user, 7))) await sleep(10);
  return attempt;
}

async function flushed(attempt: Attempt): Promise<void> {
  while (!(await attempt.flush())) await sleep(10);
}

async function throughACrash(): Promise<void> {
  const before = await opened(device);
  for (let question = 0; question < questions; question++) {
    before.answer(question, `answer ${question}`);
    await before.flush();
  }
  await flushed(before);
  Object.assign(before, { client: createClient({ baseUrl: "http://127.0.0.1:9" }) });
  before.answer(questions, ["sent", "to nowhere"]);
  assert.equal(await before.flush(), false);
  before.answer(questions + 1, "not sent");
  const attempt = await opened(device);
  await flushed(attempt);
  const wanted = Object.fromEntries([...Array(questions).keys()].map((n) => [n, `answer ${n}`]));
  assert.deepEqual(attempt.session.answers, { ...wanted, "12": ["sent", "to nowhere"], "13": "not sent" });
  assert.ok(attempt.secondsLeft() > 1700 && attempt.secondsLeft() < 1801);
}

async function withAnotherDevice(): Promise<void> {
  const here = await opened(device);
  const there = await opened(new Memory());
  assert.equal(here.session.id, there.session.id);
  there.answer(1, "there");
  await flushed(there);
  here.answer(1, "here");
  here.answer(2, "here");
  await flushed(here);
  assert.deepEqual([here.session.answers["1"], here.session.answers["2"]], ["there", "here"]);
  while (!(await here.complete())) await sleep(10);
  assert.ok(here.ended);
  assert.deepEqual(here.lost, {});
  there.answer(3, "after the end");
  await flushed(there);
  assert.deepEqual([there.ended, there.lost], [true, { "3": "after the end" }]);
  assert.deepEqual(there.session, here.session);
}

async function tooLate(): Promise<void> {
  const store = new Memory();
  store.setItem("attempt", JSON.stringify({ id: process.argv[3], unsent: {}, sent: null }));
  const attempt = await opened(store);
  attempt.answer(1, "in time");
  await flushed(attempt);
  attempt.answer(2, "too late");
  await sleep(Math.max(0, attempt.secondsLeft()) * 1000 + 1000);
  await flushed(attempt);
  assert.deepEqual(attempt.session.answers, { "1": "in time" });
  assert.deepEqual([attempt.ended, attempt.lost], [true, { "2": "too late" }]);
}

await throughACrash();
await withAnotherDevice();
await tooLate();
