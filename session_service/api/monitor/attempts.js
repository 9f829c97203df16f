/* Attempts: their state at a moment, the summary of the room, filters and sorts. */

import * as text from "./text.js";

export const MINUTE = 60000;

/** States in the order of attention. */
export const STATES = {
  overdue: "Time is over",
  unsaved: "Never saved",
  idle: "Idle",
  working: "Working",
  paused: "Paused",
  done: "Done",
  unlisted: "No longer listed",
};
const ALARMING = new Set(["overdue", "unsaved", "idle"]);

export const SORTS = {
  attention: "Attention",
  name: "Name",
  left: "Time left",
  saved: "Last save",
  answered: "Answered",
};

const parsed = (time) => (time === null || time === undefined ? null : Date.parse(time));

/** Names that are shown come from the platform: those without a visible character are left out. */
function nameOf(item) {
  const name = item.metadata?.name;
  return typeof name === "string" && name.trim() ? name.trim() : item.user_id;
}

/** An attempt as the page keeps it: the item of the list, with parsed times and what the page has noticed. */
export class Attempt {
  constructor(item) {
    this.id = item.id;
    this.devices = new Set();
    this.switched = false;
    this.resumedAt = 0;
    this.update(item, 0);
  }

  /** Take over an item of the list or a session of a reply; return whether an order has changed it. */
  update(item, now) {
    const before = this.item && orderState(this);
    if (this.item?.status === "paused" && item.status === "in_progress") this.resumedAt = now;
    // The reply to an order has the answers, of which the page needs the number only.
    const { answers, annotations, ...rest } = item;
    const answered = item.answered ?? (answers ? Object.keys(answers).length : 0);
    this.item = { ...this.item, ...rest, answered };
    this.listed = true;
    this.name = nameOf(item);
    this.searched = `${this.name}\n${item.user_id}`.toLowerCase();
    this.startedAt = parsed(item.started_at);
    this.createdAt = parsed(item.created_at);
    this.savedAt = parsed(item.last_saved_at);
    this.endsAt = parsed(item.expires_at);
    this.pausedAt = parsed(item.paused_at);
    this.changedAt = parsed(item.completed_at) ?? parsed(item.updated_at);
    this.#noteDevices(item.client_ids ?? []);
    return before !== undefined && before !== orderState(this);
  }

  #noteDevices(found) {
    const known = this.devices.size;
    for (const device of found) this.devices.add(device);
    if (this.devices.size > Math.max(known, 1)) this.switched = true;
  }

  get neverSaved() {
    return this.savedAt <= this.createdAt && this.item.answered === 0;
  }

  get live() {
    return this.item.status === "in_progress" || this.item.status === "paused";
  }

  /** Milliseconds left, null without an end; those of a paused attempt stand still. */
  left(now) {
    if (this.endsAt === null || !this.live) return null;
    return this.endsAt - (this.item.status === "paused" ? this.pausedAt : now);
  }

  state(now, idleMinutes) {
    if (!this.listed) return "unlisted";
    if (this.item.status === "paused") return "paused";
    if (this.item.status !== "in_progress") return "done";
    if (this.endsAt !== null && this.endsAt <= now) return "overdue";
    const active = Math.max(this.savedAt, this.startedAt, this.resumedAt);
    if (now - active < idleMinutes * MINUTE) return "working";
    return this.neverSaved ? "unsaved" : "idle";
  }

  needsAttention(now, idleMinutes) {
    return ALARMING.has(this.state(now, idleMinutes)) || (this.switched && this.live && this.listed);
  }

  /** The state in words, with the time since or of it. */
  words(now, idleMinutes) {
    const state = this.state(now, idleMinutes);
    if (state === "done") return `${ENDINGS[this.item.ended_by] ?? "Ended"} ${text.momentOf(this.endedAt, now)}`;
    if (state === "paused") return `Paused ${text.momentOf(this.pausedAt, now)}`;
    if (state === "idle") return `Idle for ${text.plainDuration(now - Math.max(this.savedAt, this.resumedAt))}`;
    if (state === "unsaved") return `Never saved for ${text.plainDuration(now - Math.max(this.startedAt, this.resumedAt))}`;
    if (state === "working" && this.neverSaved) return "Working, no save yet";
    return STATES[state];
  }

  /** The end by the deadline is stored a moment later: until then the item has no other time than the deadline. */
  get endedAt() {
    return this.item.ended_by === "deadline" && this.endsAt !== null ? this.endsAt : this.changedAt;
  }
}

const ENDINGS = { learner: "Handed in", deadline: "Time was over", proctor: "Ended by a teacher" };

/** What only orders and ends change, to notice those of another teacher. */
export function orderState({ item }) {
  return [item.status, item.expires_at, item.paused_at].join(" ");
}

/** The number of attempts in each state, and of those that need attention. */
export function summarize(attempts, now, idleMinutes) {
  const counts = { all: attempts.length, attention: 0 };
  for (const state of Object.keys(STATES)) counts[state] = 0;
  for (const attempt of attempts) {
    counts[attempt.state(now, idleMinutes)] += 1;
    if (attempt.needsAttention(now, idleMinutes)) counts.attention += 1;
  }
  return counts;
}

const order = Object.keys(STATES);
const last = Number.MAX_SAFE_INTEGER;

function rank(attempt, now, idleMinutes) {
  const place = order.indexOf(attempt.state(now, idleMinutes));
  return attempt.needsAttention(now, idleMinutes) ? place : place + order.length;
}

const KEYS = {
  attention: (attempt, now, idleMinutes) => rank(attempt, now, idleMinutes),
  name: () => 0,
  left: (attempt, now) => attempt.left(now) ?? last,
  saved: (attempt) => (attempt.live ? attempt.savedAt : last),
  answered: (attempt) => attempt.item.answered,
};
const byName = new Intl.Collator([], { numeric: true });

/** The attempts that the view shows, in its order. */
export function arranged(attempts, view, now) {
  const wanted = view.search.trim().toLowerCase();
  const shown = attempts.filter(
    (one) => passes(one, view, now) && (!wanted || one.searched.includes(wanted)),
  );
  const key = KEYS[view.sort];
  const keyed = shown.map((one) => [key(one, now, view.idleMinutes), one]);
  keyed.sort(([a, one], [b, other]) => a - b || byName.compare(one.name, other.name) || (one.id < other.id ? -1 : 1));
  return keyed.map(([, one]) => one);
}

function passes(attempt, view, now) {
  if (view.filter === "all") return true;
  if (view.filter === "attention") return attempt.needsAttention(now, view.idleMinutes);
  return attempt.state(now, view.idleMinutes) === view.filter;
}
