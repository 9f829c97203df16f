/** Attempts of docs/client.md on a network that replies with anything: node network.js URL SCENARIO [...]. */
import assert from "node:assert/strict";

import { createClient } from "session-service-client";

import {
  ARGUMENTS,
  assertSaved,
  CLIENT,
  device,
  finish,
  made,
  Memory,
  newUser,
  NOWHERE,
  QUIZ,
  requests,
  run,
  script,
  shortenTimers,
  state,
  URL,
} from "./harness.js";

// After these nothing was written and the next write has a new idempotency key.
const NEW_KEY = ["RequestTimeoutError", "IdempotencyKeyReusedError"];
const NOW = "Thu, 26 Nov 2026 05:00:00 GMT";
const BOTH = { "1": "one", "2": ["two", "deux"] };
const WAITS: [string, number, number][] = [
  // Retry-After, least and most seconds to wait
  ["30", 30, 60],
  ["0", 1, 2],
  ["Thu, 26 Nov 2026 05:00:40 GMT", 40, 80],
  ["Thu, 26 Nov 2026 04:00:00 GMT", 1, 2],
  ["9".repeat(5000), 30, 3600],
  ["Fri, 31 Dec 9999 23:59:59 GMT", 30, 3600],
  ["-5", 1, 2],
  ["soon", 1, 2],
  ["1e9", 1, 2],
];

/** After a reply that is not the service's, or allows a new try, calls return a wait; nothing is lost. */
async function any_reply(): Promise<void> {
  const failed: { [name: string]: string } = {};
  shortenTimers(); // Node's fetch never ends the body of a broken content encoding
  for (const name of ARGUMENTS) await oneReply(name).catch((error) => (failed[name] = String(error)));
  assert.deepEqual(failed, {});
}

/** Gives the reply to each request of an attempt once. */
async function oneReply(name: string): Promise<void> {
  const [user, store] = [newUser(), new Memory()];
  const attempt = made(store);
  for (const replies of [[name], ["pass", name]]) {
    await script(replies);
    assert.ok((await attempt.open(user, QUIZ)) >= 1);
  }
  await finish(() => attempt.open(user, QUIZ));
  await script([name]);
  assert.ok((await attempt.open(user, QUIZ)) >= 1);
  attempt.answer(1, "one");
  attempt.answer(2, ["two", "deux"]);
  await script([name]);
  assert.ok((await attempt.flush()) >= 1);
  assert.deepEqual(made(store).unsaved, BOTH);
  await finish(() => attempt.flush());
  const keys = (await requests("PATCH")).map(({ key }) => key);
  assert.ok(keys.length >= 2);
  assert.equal(new Set(keys).size === 1, !NEW_KEY.includes(name));
  await assertSaved(attempt, BOTH);
  assert.deepEqual(attempt.unsaved, {});
  await completeWith(attempt, name);
}

/** Gives the reply to the last save, then to the completion. */
async function completeWith(attempt: ReturnType<typeof made>, name: string): Promise<void> {
  attempt.answer(3, "three");
  await script([name]);
  assert.ok((await attempt.complete()) >= 1);
  assert.equal((await state(attempt))[0], "in_progress");
  await script(["pass", name]);
  assert.ok((await attempt.complete()) >= 1);
  assert.ok(attempt.problem);
  await finish(() => attempt.complete());
  await assertSaved(attempt, { ...BOTH, "3": "three" }, "completed");
  assert.deepEqual([attempt.ended, attempt.refused, attempt.lost, attempt.problem], [true, {}, {}, null]);
}

/** A proxy's redirect of the completion to the session does not count as completion. */
async function in_between(): Promise<void> {
  const attempt = await device(new Memory(), newUser());
  await script(["redirect"], { location: `/api/sessions/${attempt.session!.id}` });
  await finish(() => attempt.complete());
  assert.equal(attempt.ended, true);
  await assertSaved(attempt, {}, "completed");
}

/** The wait is at least Retry-After, in each of its forms, but at most an hour; without one it is short. */
async function retry_after(): Promise<void> {
  const attempt = await device(new Memory(), newUser());
  for (const status of ["ServiceUnavailableError", "429 page"]) {
    for (const [value, least, most] of WAITS) {
      attempt.answer(1, `${status} ${value.slice(0, 9)}`);
      await script([status], { "retry-after": value, date: NOW });
      const wait = await attempt.flush();
      assert.ok(least <= wait && wait <= most, `${status} ${value.slice(0, 40)}: ${wait}`);
      await finish(() => attempt.flush());
    }
  }
}

/** A 401 asks for a new token and loses nothing. */
async function token(): Promise<void> {
  const clients = ARGUMENTS.slice(0, 2).map((bearer) =>
    createClient({ baseUrl: URL, headers: { authorization: `Bearer ${bearer}` } }),
  );
  const [valid, stale] = [clients[0]!, clients[1]!];
  const attempt = made(new Memory());
  attempt.client = stale;
  const open = () => attempt.open(ARGUMENTS[2]!, QUIZ);
  assert.deepEqual([(await open()) >= 1, attempt.problem], [true, "UNAUTHENTICATED"]);
  attempt.client = valid;
  await finish(open);
  attempt.client = stale;
  attempt.answer(1, "one");
  for (const call of [() => attempt.flush(), () => attempt.complete()]) {
    assert.deepEqual([(await call()) >= 1, attempt.problem], [true, "UNAUTHENTICATED"]);
  }
  assert.deepEqual(attempt.unsaved, { "1": "one" });
  attempt.client = valid;
  await finish(() => attempt.complete());
  assert.deepEqual([await state(attempt, valid), attempt.problem], [["completed", { "1": "one" }], null]);
}

/** A device without a network for a day goes on trying at the same pace. */
async function long_outage(): Promise<void> {
  const attempt = await device(new Memory(), newUser());
  attempt.client = NOWHERE;
  attempt.answer(1, "one");
  for (let tries = 0; tries < 1100; tries++) {
    const wait = await attempt.flush();
    assert.ok(wait >= 1 && wait <= 60);
  }
  attempt.client = CLIENT;
  await finish(() => attempt.flush());
  await assertSaved(attempt, { "1": "one" });
}

/** A request without a reply ends, and is repeated. */
async function silence(): Promise<void> {
  const attempt = await device(new Memory(), newUser());
  attempt.answer(1, "one");
  await script(["silence"]);
  shortenTimers();
  assert.ok((await attempt.flush()) >= 1);
  await finish(() => attempt.flush());
  await assertSaved(attempt, { "1": "one" });
}

/** Exceptions of the client that the class was given do not reach its caller. */
async function broken_client(): Promise<void> {
  const attempt = await device(new Memory(), newUser());
  attempt.answer(1, "one");
  const fail = (): never => {
    throw new TypeError("a fault of the program");
  };
  const failing = createClient({ baseUrl: URL });
  failing.use({ onResponse: fail });
  for (const client of [createClient({ baseUrl: URL, fetch: fail }), failing, createClient({ baseUrl: "nonsense" })]) {
    attempt.client = client;
    assert.ok((await attempt.flush()) >= 1);
  }
  attempt.client = CLIENT;
  await finish(() => attempt.flush());
  await assertSaved(attempt, { "1": "one" });
}

/** After a 408, which says that the body came too slowly, the next writes are smaller. */
async function slow_uplink(): Promise<void> {
  const attempt = await device(new Memory(), newUser());
  for (let question = 0; question < 8; question++) attempt.answer(question, "x".repeat(9000));
  await script(["RequestTimeoutError"]);
  await finish(() => attempt.flush());
  const sizes = (await requests("PATCH")).map(({ body }) => body.length);
  assert.ok(sizes[1]! < sizes[0]! * 0.6);
  await assertSaved(attempt, Object.fromEntries([...Array(8).keys()].map((name) => [name, "x".repeat(9000)])));
}

await run(any_reply, in_between, retry_after, token, long_outage, silence, broken_client, slow_uplink);
