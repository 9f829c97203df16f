/* Sends orders: with keys that are kept for repeats, attempt by attempt or for the whole quiz. */

import { orderState } from "./attempts.js";
import { now } from "./clock.js";
import { ORDERS, bodyOf } from "./orders.js";
import { Failure, newKey, send, sentenceFor, sleep } from "./service.js";
import * as text from "./text.js";

const AT_ONCE = 4; // requests for single attempts
const REPEATS = 5; // of a request without a reply, or that is refused for a moment
const PAUSE = 1000; // milliseconds before a repeat, also of an unfinished order
const CALLS = 200; // of an unfinished order, each of which lasts up to three seconds

/** A new dialog has new keys; the same order in it keeps its own, so that a repeat changes nothing twice. */
export class Keys {
  #keys = new Map();

  of(...parts) {
    const name = JSON.stringify(parts);
    if (!this.#keys.has(name)) this.#keys.set(name, newKey());
    return this.#keys.get(name);
  }

  forget(...parts) {
    this.#keys.delete(JSON.stringify(parts));
  }
}

/** Repeat a request while a repeat may help; throw the last Failure. `onWait` gets the seconds of a longer pause. */
async function persistently(request, onWait) {
  for (let repeat = 0; ; repeat += 1) {
    try {
      return await request();
    } catch (failure) {
      if (!(failure instanceof Failure) || !failure.passing || repeat === REPEATS) throw failure;
      const seconds = Math.max(failure.retryAfter, (PAUSE / 1000) * (repeat + 1));
      if (seconds > 2) onWait(failure, seconds);
      await sleep(seconds * 1000);
    }
  }
}

/** Give an order to attempts one by one; return a result for each: changed, same, changedMeanwhile or failed. */
export async function giveToEach(order, attempts, seen, keys, onProgress) {
  const waiting = [...attempts];
  const results = [];
  let stop = null;
  const work = async () => {
    while (waiting.length && !stop) {
      const attempt = waiting.shift();
      const result = await giveToOne(order, attempt, seen.get(attempt.id), keys, onProgress);
      if (result.status === 401) stop = result;
      results.push(result);
      onProgress(`${text.number(results.length)} of ${text.number(attempts.length)}`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return [...results, ...waiting.map((attempt) => ({ ...stop, attempt }))];
}

async function giveToOne(order, attempt, seen, keys, onProgress) {
  const body = bodyOf(order, attempt);
  const path = `api/sessions/${attempt.id}/${ORDERS[order.kind].path}`;
  const method = ORDERS[order.kind].path === "deadline" ? "PUT" : "POST";
  const name = [attempt.id, order.kind, body];
  const wait = (failure, seconds) => onProgress(`${failure.message} Next try in ${Math.ceil(seconds)} s.`);
  for (;;) {
    const version = attempt.item.version;
    const request = () => send(method, path, { body, key: keys.of(...name), version });
    try {
      const reply = await persistently(request, wait);
      attempt.update(reply.body, now());
      return { attempt, outcome: reply.body.version === version ? "same" : "changed" };
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure;
      if (failure.session) attempt.update(failure.session, now());
      const { status, message } = failure;
      if (status !== 409 || !failure.session) return { attempt, outcome: "failed", status, message };
      // A learner's save changes the version, too: only the change of another teacher is a conflict.
      keys.forget(...name);
      if (orderState(attempt) !== seen) return { attempt, outcome: "changedMeanwhile", status, message: conflictOf(attempt) };
    }
  }
}

function conflictOf(attempt) {
  const end = attempt.endsAt === null ? "it has no end" : `its end is ${text.momentOf(attempt.endsAt, now())}`;
  const words = { paused: "it is paused", in_progress: end };
  return `It has changed meanwhile: now ${words[attempt.item.status] ?? "it has ended"}. Nothing was sent to it.`;
}

/** Give an order to all running and paused attempts of a quiz; return its result. Throw Failure. */
export async function giveToAll(order, quiz, keys, onProgress) {
  const body = { quiz_id: quiz, ...bodyOf(order, null) };
  const path = `api/sessions/${ORDERS[order.kind].path}`;
  const unchanged = new Map();
  const wait = (failure, seconds) => onProgress(`${failure.message} Next try in ${Math.ceil(seconds)} s.`);
  for (let call = 0; call < CALLS; call += 1) {
    const { body: report } = await persistently(() => send("POST", path, { body, key: keys.of("all", order.kind, body) }), wait);
    for (const one of report.unchanged) unchanged.set(one.id, one.errorCode);
    onProgress(`${text.plural(report.changed, "learner")} so far`);
    if (!report.unfinished) return { changed: report.changed, unchanged };
    await sleep(PAUSE);
  }
  throw new Failure(503, null, 0);
}

/** The reason why an order for a quiz has not changed an attempt. */
export const reasonFor = (code) => (code === null ? "It was so already." : sentenceFor(410, code));
