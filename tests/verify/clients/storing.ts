/** Stores of an attempt: slow ones, and those that lack something or never return: node storing.js URL SCENARIO. */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import { Attempt, createClient, type AttemptEvent } from "session-service-client";

import {
  assertSaved, CLIENT, Database, device, finish, Memory, newName, newUser, NOWHERE, QUIZ, run, until, URL,
} from "./harness.js";

/** A store that returns promises, slowly, has every answer before it is sent, and is loaded before it is used. */
async function slow_store(): Promise<void> {
  const [user, memory] = [newUser(), new Memory()];
  let broken = false;
  const store = {
    getItem: async (key: string) => (await sleep(5), memory.getItem(key)),
    setItem: async (key: string, value: string) => {
      await sleep(5);
      if (broken) throw new Error("no space left");
      memory.setItem(key, value);
    },
  };
  const first = new Attempt(CLIENT, store, "attempt");
  first.client = NOWHERE;
  const stored = first.answer(0, "before the store was read");
  assert.deepEqual(first.unsaved, { "0": "before the store was read" });
  await stored;
  assert.ok(memory.getItem("attempt.v1")!.includes("before the store was read"));
  first.client = createClient({
    baseUrl: URL,
    fetch: async (request) => {
      if (broken || request.method !== "PATCH") return fetch(request);
      const { answers } = await request.clone().json();
      const { sent } = JSON.parse(memory.getItem("attempt.v1")!);
      for (const question of Object.keys(answers)) assert.deepEqual(sent?.changes[question].answer, answers[question]);
      return fetch(request);
    },
  });
  await finish(() => first.open(user, QUIZ));
  for (let question = 1; question < 20; question++) void first.answer(question, question);
  await finish(() => first.flush());
  const saved = Object.fromEntries([...Array(20).keys()].map((n) => [n, n || "before the store was read"]));
  await assertSaved(first, saved);
  broken = true;
  await first.answer(20, "not stored");
  assert.equal(first.storeFailed, true);
  await finish(() => first.flush());
  await assertSaved(first, { ...saved, "20": "not stored" });
  broken = false;
  await first.answer(21, "stored");
  assert.equal(first.storeFailed, false);
  await finish(() => new Attempt(CLIENT, store, "attempt").open(user, QUIZ));
}

/** A store that never returns stops no save: the attempt says so, and writes what is missing once it returns. */
async function late_write(): Promise<void> {
  const [memory, user] = [new Memory(), newUser()];
  const store = new Database(memory);
  const attempt = new Attempt(CLIENT, store, newName(), undefined, { timeout: 0.2 });
  await finish(() => attempt.open(user, QUIZ));
  const late: AttemptEvent[] = [];
  attempt.on((event) => void (event.type === "timeout" && late.push(event)));
  const works = store.setItem;
  let returns: () => void = () => undefined;
  store.setItem = () => new Promise((resolve) => (returns = resolve));
  await attempt.answer(1, "in memory");
  assert.deepEqual([attempt.storeFailed, attempt.stored, attempt.unsaved], [true, false, { "1": "in memory" }]);
  assert.deepEqual(late, [{ type: "timeout", of: "store" }]);
  await finish(() => attempt.flush());
  await attempt.answer(2, "also in memory");
  store.setItem = works;
  returns();
  await until(() => attempt.stored);
  assert.equal(attempt.storeFailed, false);
  assert.ok([...memory.items.values()].some((content) => content.includes("also in memory")));
  await finish(() => attempt.flush());
  await assertSaved(attempt, { "1": "in memory", "2": "also in memory" });
}

/** A store that cannot be read in time stops no save; its answers are saved with the others once it returns. */
async function late_read(): Promise<void> {
  for (const shared of [false, true]) {
    const [memory, name, user] = [new Memory(), newName(), newUser()];
    const before = new Attempt(CLIENT, memory, name);
    await finish(() => before.open(user, QUIZ));
    before.answer(1, "of the store");
    const store = Object.assign(new Database(memory), { shared });
    const works = store.getItem;
    let returns: (content: string | null) => void = () => undefined;
    store.getItem = () => new Promise((resolve) => (returns = resolve));
    const attempt = new Attempt(CLIENT, store, name, undefined, { timeout: 0.2 });
    const answered = attempt.answer(2, "in memory");
    await finish(() => attempt.open(user, QUIZ));
    await answered;
    assert.equal(attempt.storeFailed, true);
    await finish(() => attempt.flush());
    await assertSaved(attempt, { "2": "in memory" });
    await attempt.answer(3, "given meanwhile");
    store.getItem = works;
    returns(memory.getItem(`${name}.v1`));
    await until(() => attempt.stored);
    await finish(() => attempt.flush());
    await assertSaved(attempt, { "1": "of the store", "2": "in memory", "3": "given meanwhile" });
    assert.equal(attempt.storeFailed, false);
  }
}

/** An answer that is given while an earlier attempt is moved aside belongs to the next one, or is moved with it. */
async function answered_during_a_move(): Promise<void> {
  for (const fails of [false, true]) {
    const [user, memory] = [newUser(), new Memory()];
    const store = Object.assign(new Database(memory), { shared: false });
    const attempt = new Attempt(CLIENT, store, "attempt");
    await finish(() => attempt.open(user, QUIZ));
    await finish(() => attempt.complete());
    await attempt.answer(1, "too late");
    const before = memory.getItem("attempt.v1");
    let moves = 0;
    const set = store.setItem;
    store.setItem = async (key, value) => {
      if (key === "attempt.v1" || moves++ > 0) return set(key, value);
      void attempt.answer(2, "given meanwhile");
      await sleep(50);
      assert.equal(memory.getItem("attempt.v1"), before); // the only copy
      if (fails) throw new Error("no space left");
      return set(key, value);
    };
    await finish(() => attempt.open(user, QUIZ, { anew: true }));
    await finish(() => attempt.flush());
    await assertSaved(attempt, fails ? {} : { "2": "given meanwhile" });
    const aside = JSON.parse(memory.getItem(attempt.setAside!)!);
    assert.deepEqual({ ...aside.lost }, fails ? { "1": "too late", "2": "given meanwhile" } : { "1": "too late" });
  }
}

/** A store that could not be read once is read again: its answers are sent, with those that were given meanwhile. */
async function read_again(): Promise<void> {
  for (const delay of [null, 5]) {
    const [user, memory] = [newUser(), new Memory()];
    const first = await device(memory, user);
    for (const question of [2, 4]) first.answer(question, question === 4 ? "x\u0000" : "saved");
    await finish(() => first.flush());
    first.client = NOWHERE;
    for (const question of [1, 5]) first.answer(question, "of the store");
    await first.flush();
    let fails = true;
    const database = Object.assign(new Database(memory, delay ?? 0), { shared: false });
    const store = delay === null ? new Memory() : database;
    if (store instanceof Memory) store.items = memory.items;
    const get = store.getItem;
    store.getItem = (key: string) => (fails ? assert.fail("busy") : get(key)) as never;
    const attempt = new Attempt(CLIENT, store, "attempt");
    await finish(() => attempt.open(user, QUIZ));
    for (const question of [3, 5]) await attempt.answer(question, "given meanwhile");
    await finish(() => attempt.flush());
    assert.equal(attempt.storeFailed, true);
    fails = false;
    await finish(() => attempt.flush());
    const saved = { "1": "of the store", "2": "saved", "3": "given meanwhile", "5": "given meanwhile" };
    await assertSaved(attempt, saved);
    assert.deepEqual([attempt.storeFailed, attempt.refused], [false, { "4": "x\u0000" }]);
    await until(() => attempt.stored);
    assert.deepEqual({ ...JSON.parse(memory.getItem("attempt.v1")!).saved }, saved);
  }
}

/** A token that never comes holds up nothing for longer than the time limit. */
async function late_token(): Promise<void> {
  const user = newUser();
  const token = (): Promise<string> => new Promise(() => undefined);
  const attempt = new Attempt(CLIENT, new Memory(), "attempt", undefined, { token, timeout: 0.2 });
  const late: AttemptEvent[] = [];
  attempt.on((event) => void (event.type === "timeout" && late.push(event)));
  attempt.answer(1, "one");
  await finish(() => attempt.open(user, QUIZ));
  await finish(() => attempt.flush());
  await assertSaved(attempt, { "1": "one" });
  assert.deepEqual(late[0], { type: "timeout", of: "token" });
}

/** The answers count as stored on the device only after the store has them. */
async function stored(): Promise<void> {
  const memory = new Memory();
  for (const shared of [false, true]) {
    const name = newName();
    const attempt = new Attempt(CLIENT, Object.assign(new Database(memory, 50), { shared }), name);
    const seen: boolean[] = [];
    attempt.on(() => void seen.push(attempt.stored));
    const answered = attempt.answer(1, "one");
    assert.equal(attempt.stored, false);
    await answered;
    assert.ok([...memory.items.entries()].some(([key, content]) => key.startsWith(name) && content.includes("one")));
    await until(() => attempt.stored);
    await finish(() => attempt.open(newUser(), QUIZ));
    const again = attempt.answer(2, "two");
    assert.equal(attempt.stored, false);
    await again;
    await until(() => attempt.stored && seen.at(-1) === true);
  }
}

/** A store that lacks a function which it needs is an error of the program, at once. */
async function partial_store(): Promise<void> {
  const { getItem, setItem } = new Memory();
  const { removeItem, getAllKeys } = new Database();
  const keys = { length: 0, key: () => null };
  for (const store of [{ getItem, setItem }, { getItem, setItem, getAllKeys, removeItem, shared: true }]) {
    await new Attempt(CLIENT, store, newName()).close();
  }
  await new Attempt(CLIENT, { getItem, setItem, removeItem, ...keys, shared: true }, newName()).close();
  for (const [store, lacking] of [
    [{ getItem }, "setItem"],
    [{ getItem, setItem, removeItem, shared: true }, "getAllKeys"],
    [{ getItem, setItem, getAllKeys, shared: true }, "removeItem"],
  ] as const) {
    assert.throws(() => new Attempt(CLIENT, store as never, newName()), { name: "TypeError", message: new RegExp(lacking) });
  }
}

/** A session at its limit refuses each answer: the attempt finds that out in few requests, with waits between them. */
async function session_at_its_limit(): Promise<void> {
  const attempt = await device(new Memory(), newUser());
  const refusal = { statusCode: 413, errorCode: "PAYLOAD_TOO_LARGE" };
  let saves = 0;
  attempt.client = createClient({
    baseUrl: URL,
    fetch: async (request) => {
      if (request.method !== "PATCH") return fetch(request);
      saves++;
      return Response.json(refusal, { status: 413 });
    },
  });
  for (let question = 0; question < 60; question++) attempt.answer(question, "x");
  for (let calls = 1; calls <= 3; calls++) {
    assert.ok((await attempt.flush()) >= 2 ** (calls - 1));
    assert.ok(saves <= 20 * calls);
  }
  await finish(() => attempt.flush());
  assert.equal(Object.keys(attempt.refused).length, 60);
  attempt.client = CLIENT;
  attempt.answer(1, "corrected");
  await finish(() => attempt.flush());
  await assertSaved(attempt, { "1": "corrected" });
}

await run(
  ...[slow_store, late_write, late_read, late_token, stored, partial_store, session_at_its_limit],
  ...[answered_during_a_move, read_again],
);
process.exit(0);
