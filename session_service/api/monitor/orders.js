/* Orders: their requests, their words, and the attempts that each is for. */

import { now } from "./clock.js";
import * as text from "./text.js";

/* So far in the past that no grace, which is an hour at most, lets an attempt go on. */
const LONG_AGO = "2000-01-01T00:00:00.000Z";

const running = ({ item }) => item.status === "in_progress";
const paused = ({ item }) => item.status === "paused";
const live = (attempt) => attempt.live;
const done = (attempt) => !attempt.live;

const minutes = (order) => text.plural(Math.abs(order.minutes), "minute");
const learners = (count) => text.plural(count, "learner");

/** Orders by kind: `fits` the attempts that it can change, `path` of its requests, `verb` of its button. */
export const ORDERS = {
  extend: {
    path: "deadline",
    fits: live,
    body: (order) => ({ extra_seconds: order.minutes * 60 }),
    verb: (order, count) =>
      order.minutes < 0 ? `Take ${minutes(order)} from ${learners(count)}` : `Give ${learners(count)} ${minutes(order)}`,
    past: (order) => (order.minutes < 0 ? `${minutes(order)} less` : `${minutes(order)} more`),
  },
  endAt: {
    path: "deadline",
    fits: live,
    body: (order) => ({ expires_at: new Date(order.end).toISOString() }),
    verb: (order, count) => `Set the end of ${learners(count)} to ${text.momentOf(order.end, now())}`,
    past: (order) => `new end ${text.momentOf(order.end, now())}`,
  },
  endNow: {
    path: "deadline",
    fits: live,
    body: () => ({ expires_at: LONG_AGO }),
    verb: (order, count) => `End ${count === 1 ? "the attempt" : `the attempts`} of ${learners(count)} now`,
    past: () => "ended",
  },
  pause: { path: "pause", fits: running, body: () => ({}), verb: (_, count) => `Pause ${learners(count)}`, past: () => "paused" },
  resume: { path: "resume", fits: paused, body: () => ({}), verb: (_, count) => `Resume ${learners(count)}`, past: () => "resumed" },
  reopen: {
    path: "reopen",
    fits: done,
    body: (order) => ({ time_limit_seconds: order.minutes * 60 }),
    verb: (order, count) => `Reopen for ${learners(count)}, ${minutes(order)} from now`,
    past: (order) => `reopened for ${minutes(order)}`,
  },
  restore: {
    path: "deadline",
    fits: () => true,
    body: () => ({}),
    verb: (_, count) => `Give ${learners(count)} the end back`,
    past: () => "end given back",
  },
};

/** The body of an order for an attempt; a restored end is each attempt's own. */
export function bodyOf(order, attempt) {
  const reason = order.reason ? { reason: order.reason } : {};
  if (order.kind === "restore") return { ...endOf(order.ends.get(attempt.id)), ...reason };
  return { ...ORDERS[order.kind].body(order), ...reason };
}

const endOf = (end) => (end === null ? { time_limit_seconds: 0 } : { expires_at: new Date(end).toISOString() });

/** The order that takes another one back, for the attempts that it has changed; null if there is none. */
export function undoOf(order, ends) {
  if (order.kind === "pause") return { kind: "resume" };
  if (order.kind === "resume") return { kind: "pause" };
  if (order.kind === "extend") return { kind: "extend", minutes: -order.minutes };
  // Only an end that still lies ahead can be given back.
  const ahead = new Map([...ends].filter(([, end]) => end === null || end > now()));
  if ((order.kind === "endNow" || order.kind === "endAt") && ahead.size) return { kind: "restore", ends: ahead };
  return null;
}
