/* Side panel: the history of an attempt in readable lines, and its orders. */

import { now } from "./clock.js";
import { find, make, setText } from "./dom.js";
import { Failure, send } from "./service.js";
import * as text from "./text.js";

const PAGE = 1000; // lines of a request, the maximum of the contract
const MOST = 20000; // lines that are kept; older ones come first
const ACTORS = { system: "the service", anonymous: "a caller without a token", unknown: "an unknown caller" };

const parsed = (time) => (time ? Date.parse(time) : null);

/** The cause of a line in words: the subject of a token, with the party that acts for it. */
function actorOf(actor) {
  if (!actor) return "another person";
  const subject = actor.subject ?? ACTORS[actor.type] ?? actor.type;
  return actor.acting ? `${actor.acting} for ${subject}` : subject;
}

function wordsOf(line, at) {
  const { type, data } = line;
  const end = data.expires_at ? `end ${text.momentOf(parsed(data.expires_at), at)}` : "no end";
  const words = {
    "session.started": `Started, ${end}`,
    "session.paused": "Paused",
    "session.resumed": `Resumed, ${end}`,
    "session.reopened": `Reopened, ${end}`,
    "session.deadline_changed": `Time changed, ${end}`,
    "session.fenced": "Restored from a backup",
  };
  if (type === "session.completed") return data.ended_by === "learner" ? "Handed in" : "Ended, handed in as it was";
  if (type === "session.expired") return data.ended_by === "proctor" ? "Ended by a teacher" : "Time was over";
  return words[type] ?? type.replace("session.", "").replaceAll("_", " ");
}

/** Lines for people, oldest first: saves in a row from one device are one, and a change of the device is one. */
export function readable(lines, at) {
  const found = [];
  let device = null;
  for (const line of lines) {
    const time = parsed(line.at);
    if (line.type !== "session.saved") {
      found.push({ from: time, to: time, kind: line.type, words: wordsOf(line, at), actor: actorOf(line.actor), reason: line.data.reason });
      continue;
    }
    if (line.client_id && device && line.client_id !== device) {
      found.push({ from: time, to: time, kind: "device", words: `Changed the device: from ${device} to ${line.client_id}` });
    }
    device = line.client_id ?? device;
    addSave(found, line, time);
  }
  return found;
}

function addSave(found, line, time) {
  const questions = Object.keys({ ...line.data.answers, ...line.data.annotations, ...line.data.answer_digests });
  const last = found.at(-1);
  if (last?.kind === "session.saved" && last.client === line.client_id) {
    last.to = time;
    last.count += 1;
    for (const question of questions) last.questions.add(question);
  } else {
    found.push({ from: time, to: time, kind: line.type, count: 1, client: line.client_id, questions: new Set(questions) });
  }
}

function elementOf(line, at) {
  const saved = line.kind === "session.saved";
  const span = line.from === line.to ? text.momentOf(line.from, at) : `${text.momentOf(line.from, at)} – ${text.momentOf(line.to, at)}`;
  const words = saved ? `Saved ${line.count === 1 ? "once" : `${text.number(line.count)} times`}, ${text.plural(line.questions.size, "question")}` : line.words;
  const about = saved ? line.client && `device ${line.client}` : line.actor && `by ${line.actor}`;
  const item = make("li", { "data-kind": line.kind }, make("time", {}, span), make("span", { class: "words" }, words));
  if (about) item.append(make("span", { class: "about" }, about));
  if (line.reason) item.append(make("q", {}, line.reason));
  return item;
}

export class HistoryPanel {
  #lines = [];
  #after = 0;
  #loading = false;

  constructor({ onUnauthenticated, facts, orders }) {
    this.dialog = find("#history");
    this.note = find("#history-note");
    this.list = find("#history-lines");
    this.onUnauthenticated = onUnauthenticated;
    this.facts = facts;
    this.orders = orders;
    find("[data-close]", this.dialog).addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    this.dialog.addEventListener("close", () => (this.attempt = null));
  }

  open(attempt) {
    this.attempt = attempt;
    this.#lines = [];
    this.#after = 0;
    setText(find("#history-title"), attempt.name);
    this.list.replaceChildren();
    setText(this.note, "Loading…");
    this.dialog.showModal();
    this.refresh();
  }

  /** Show the attempt as it is now, and load the lines that have come since the last time. */
  refresh() {
    if (!this.attempt) return;
    find("#history-facts").replaceChildren(...this.facts(this.attempt).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
    const kinds = this.orders(this.attempt);
    const place = find("#history-orders");
    if (place.dataset.kinds !== kinds.join(" ")) {
      place.dataset.kinds = kinds.join(" ");
      const labels = { time: "Time…", pause: "Pause…", resume: "Resume…", reopen: "Reopen…" };
      place.replaceChildren(...kinds.map((kind) => make("button", { type: "button", "data-side": kind }, labels[kind])));
    }
    const known = this.attempt.item.version;
    if (!this.#loading && (this.#after === 0 || known === null || known > this.#after)) this.#load(this.attempt);
  }

  async #load(attempt) {
    this.#loading = true;
    try {
      for (let more = true; more && this.attempt === attempt && this.#lines.length < MOST; ) {
        const query = { after: this.#after, limit: PAGE };
        const { body } = await send("GET", `api/sessions/${attempt.id}/events`, { query });
        if (this.attempt !== attempt) return;
        this.#lines.push(...body.items);
        this.#after = body.items.at(-1)?.version ?? this.#after;
        more = body.next_after !== null;
        this.#draw(body.first_version);
      }
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure;
      if (this.attempt === attempt) setText(this.note, failure.message);
      if (failure.status === 401) this.onUnauthenticated();
    } finally {
      this.#loading = false;
      // Another attempt may have been opened while this one was loading.
      if (this.attempt && this.attempt !== attempt) this.refresh();
    }
  }

  #draw(firstVersion) {
    const at = now();
    const lines = readable(this.#lines, at);
    this.list.replaceChildren(...lines.reverse().map((line) => elementOf(line, at)));
    const clients = new Set(this.#lines.filter((line) => line.type === "session.saved" && line.client_id).map((line) => line.client_id));
    const begun = firstVersion > 1 ? " Earlier changes were not recorded." : "";
    for (const client of clients) this.attempt.devices.add(client);
    setText(this.note, `${text.plural(this.#lines.length, "change")}, ${clients.size ? text.plural(clients.size, "device") : "no device named"}.${begun}`);
  }
}
