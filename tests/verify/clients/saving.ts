/** Autosave: in the background, on a page that is hidden, while the learner types: node saving.js URL SCENARIO. */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import { Autosave, createClient, type AnswerChange } from "session-service-client";

import {
  assertSaved, CLIENT, device, finish, made, Memory, newUser, NOWHERE, QUIZ, requests, run, script, state, until, URL,
} from "./harness.js";

/** In the background an attempt opens, saves through an outage, hands in, and stops by itself never. */
async function background(): Promise<void> {
  const [user, attempt] = [newUser(), made(new Memory())];
  const faults: unknown[] = [];
  process.on("unhandledRejection", (reason) => faults.push(reason));
  const autosave = new Autosave(attempt, { user_id: user, quiz_id: QUIZ });
  attempt.answer(1, "before it was opened");
  autosave.start();
  await until(() => attempt.session !== null && !attempt.pending);
  await assertSaved(attempt, { "1": "before it was opened" });
  attempt.client = NOWHERE;
  attempt.answer(2, "offline");
  await until(() => attempt.problem === "NO_REPLY");
  assert.deepEqual(attempt.unsaved, { "2": "offline" });
  attempt.client = CLIENT;
  await script(["lost reply", "502 page", "pass"]);
  attempt.answer(3, "online");
  await until(() => !attempt.pending);
  await assertSaved(attempt, { "1": "before it was opened", "2": "offline", "3": "online" });
  attempt.answer(4, "last");
  void attempt.complete();
  await until(() => attempt.ended);
  const answers = { "1": "before it was opened", "2": "offline", "3": "online", "4": "last" };
  await assertSaved(attempt, answers, "completed");
  autosave.stop();
  assert.deepEqual([faults, attempt.lost], [[], {}]);
}

/** The background waits for as long as Retry-After says: further answers send nothing before. */
async function background_waits(): Promise<void> {
  const [user, attempt] = [newUser(), made(new Memory())];
  const autosave = new Autosave(attempt, { user_id: user, quiz_id: QUIZ });
  autosave.start();
  await until(() => attempt.session !== null);
  const waits: number[] = [];
  attempt.on((event) => void (event.type === "waiting" && waits.push(event.seconds)));
  await script(["RateLimitedError"], { "retry-after": "3600" });
  attempt.answer(1, "one");
  await until(() => waits.length === 1);
  assert.ok(waits[0]! >= 300);
  for (let question = 2; question < 50; question++) {
    attempt.answer(question, "more");
    await sleep(5);
  }
  assert.equal((await requests("PATCH")).length, 1);
  autosave.stop();
  await finish(() => attempt.flush());
  assert.equal(Object.keys((await state(attempt))[1]).length, 49);
}

/** A page as far as Autosave knows it. */
class Page extends EventTarget {
  visibilityState = "visible";
}

/** Hides the page or shows it. */
function show(page: Page, visibilityState: "visible" | "hidden"): void {
  page.visibilityState = visibilityState;
  page.dispatchEvent(new Event("visibilitychange"));
}

/** Runs the rest of the process on a page. */
function openPage(): Page {
  const [page, target] = [new Page(), new EventTarget()];
  const { addEventListener, removeEventListener, dispatchEvent } = target;
  const bound = [addEventListener, removeEventListener, dispatchEvent].map((method) => method.bind(target));
  const [add, remove, dispatch] = bound;
  Object.assign(globalThis, { document: page, addEventListener: add, removeEventListener: remove, dispatchEvent: dispatch });
  return page;
}

/** A page that is hidden saves at once, also during its own backoff, but not before the time that the service asked for. */
async function hidden_page(): Promise<void> {
  const page = openPage();
  const attempt = made(new Memory());
  const autosave = new Autosave(attempt, { user_id: newUser(), quiz_id: QUIZ });
  autosave.start();
  await until(() => attempt.session !== null);
  await script(["RateLimitedError"], { "retry-after": "3600" });
  attempt.answer(1, "one");
  await until(() => attempt.problem === "RATE_LIMITED");
  for (let times = 0; times < 3; times++) {
    show(page, "hidden");
    show(page, "visible");
    await sleep(20);
  }
  assert.equal((await requests("PATCH")).length, 1);
  autosave.stop();
  await finish(() => attempt.flush());
  await assertSaved(attempt, { "1": "one" });
  const again = new Autosave(attempt, { user_id: attempt.session!.user_id, quiz_id: QUIZ });
  again.start();
  await until(() => attempt.problem === null);
  attempt.answer(2, "two");
  show(page, "hidden");
  await until(() => !attempt.pending);
  again.stop();
  await assertSaved(attempt, { "1": "one", "2": "two" });
}

/** Learners whose network comes back at the same moment do not send at the same moment. */
async function online_again(): Promise<void> {
  openPage();
  const random = Math.random;
  const attempt = made(new Memory());
  const autosave = new Autosave(attempt, { user_id: newUser(), quiz_id: QUIZ });
  autosave.start();
  await until(() => attempt.session !== null && attempt.problem === null);
  attempt.client = NOWHERE;
  const flush = attempt.flush.bind(attempt);
  let failed = false;
  attempt.flush = async () => ((await flush()) ? ((failed = true), 3600) : 0);
  attempt.answer(1, "one");
  await until(() => failed);
  let sent = 0;
  attempt.client = createClient({ baseUrl: URL, fetch: (request) => ((sent = performance.now()), fetch(request)) });
  Math.random = () => 0.999;
  const online = performance.now();
  dispatchEvent(new Event("online"));
  await until(() => !attempt.pending);
  assert.ok(sent - online > 1900);
  Math.random = random;
  autosave.stop();
  await assertSaved(attempt, { "1": "one" });
}

/** A learner who has not decided on a conflict is asked again, but not at each key; the other answers are saved. */
async function undecided_while_typing(): Promise<void> {
  const user = newUser();
  const asked: AnswerChange[] = [];
  const here = await device(new Memory(), user, (_question, mine) => {
    asked.push(mine);
    throw new RangeError("dismissed");
  });
  const there = await device(new Memory(), user);
  there.answer(1, "theirs");
  await finish(() => there.flush());
  await script([]);
  const autosave = new Autosave(here, { user_id: user, quiz_id: QUIZ });
  here.answer(1, "mine");
  autosave.start();
  await until(() => here.problem === "UNDECIDED");
  const flush = here.flush.bind(here);
  let flushes = 0;
  here.flush = () => (flushes++, flush());
  let text = "";
  while (flushes < 8) {
    here.answer(2, (text += "x"));
    here.answer(1, `mine, ${text}`);
    await sleep(50);
  }
  assert.ok(asked.length >= 2 && asked.length <= 4, `asked ${asked.length} times`); // with 1, 2 and 4 seconds between
  await until(() => here.session!.answers["2"] === text);
  autosave.stop();
  assert.deepEqual(Object.keys(here.unsaved), ["1"]);
  await assertSaved(here, { "1": "theirs", "2": text });
}

/** An Autosave that is stopped and started again during a call goes on with one loop. */
async function started_again(): Promise<void> {
  const attempt = made(new Memory());
  let [opens, active, most] = [0, 0, 0];
  attempt.open = async () => {
    opens++;
    most = Math.max(most, ++active);
    await sleep(20);
    active--;
    return 0.01;
  };
  attempt.flush = () => assert.fail("it is not open");
  const autosave = new Autosave(attempt, { user_id: newUser(), quiz_id: QUIZ });
  const log = console.error;
  let faults = 0;
  console.error = () => void faults++;
  autosave.start();
  autosave.stop();
  autosave.start();
  await until(() => opens >= 4);
  most = 0;
  await until(() => opens >= 50);
  console.error = log;
  assert.deepEqual([most, faults], [1, 0]);
  autosave.stop();
}

/** Offline answers are sent in writes within the limit of a body, whatever their alphabet. */
async function large_answers(): Promise<void> {
  const attempt = await device(new Memory(), newUser());
  const answers: { [question: string]: AnswerChange } = { long: "\u5b66".repeat(80_000) };
  for (let question = 0; question < 12; question++) answers[question] = "\u5b66".repeat(15_000);
  for (const [question, answer] of Object.entries(answers)) attempt.answer(question, answer);
  await script([]);
  await finish(() => attempt.flush());
  const sizes = (await requests("PATCH")).map(({ body }) => Buffer.byteLength(body));
  assert.ok(Math.max(...sizes) <= 256 * 1024);
  assert.ok(sizes.length <= 5);
  assert.deepEqual(attempt.refused, {});
  await assertSaved(attempt, answers);
}

/** A proxy that accepts only smaller bodies gets smaller writes, after a few refusals of its own. */
async function small_proxy(): Promise<void> {
  const attempt = await device(new Memory(), newUser());
  let most = 0;
  attempt.client = createClient({
    baseUrl: URL,
    fetch: async (request) => {
      if (request.method !== "PATCH") return fetch(request);
      const count = Object.keys((await request.clone().json()).answers).length;
      if (count > 5) return new Response("<h1>Too large</h1>", { status: 413, headers: { "content-type": "text/html" } });
      most = Math.max(most, count);
      return fetch(request);
    },
  });
  const answers = Object.fromEntries([...Array(10).keys()].map((question) => [question, "x"]));
  for (const [question, answer] of Object.entries(answers)) attempt.answer(question, answer);
  await finish(() => attempt.flush());
  await assertSaved(attempt, answers);
  assert.equal(most, 5);
}

await run(background, background_waits, hidden_page, large_answers, online_again, undecided_while_typing, started_again, small_proxy);
process.exit(0);
