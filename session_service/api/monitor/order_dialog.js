/* Dialog of an order: its fields, the learners that it is for, its confirmation and its result. */

import { orderState } from "./attempts.js";
import { now } from "./clock.js";
import { find, findAll, make, setText, show } from "./dom.js";
import { Keys, giveToAll, giveToEach, reasonFor } from "./give.js";
import { ORDERS, undoOf } from "./orders.js";
import { Failure } from "./service.js";
import * as text from "./text.js";

const NAMED = 5; // learners that the dialog names
const GLANCE = 2000; // milliseconds after a change of the dialog in which it is not sent
const MANY = 10; // learners from which on an end needs a second confirmation
const TITLES = {
  time: "Change the time",
  pause: "Pause",
  resume: "Resume",
  reopen: "Reopen",
  restore: "Give the end back",
};
const HINTS = {
  extend: "A learner with a time factor gets this many minutes times the factor. Less than 0 takes time away.",
  endAt: "Learners with extra time get the same end.",
  endNow: "Answers that are saved stay. Learners cannot save any more.",
  pause: "Learners keep the time that they have left. They cannot save until you resume.",
  resume: "The end moves by the length of the pause.",
  reopen: "The attempt runs again with its answers. A learner with a time factor gets this time, times the factor.",
  restore: "Each attempt gets the end that it had before the order.",
};

export class OrderDialog {
  /** `room` has the attempts, the quiz and the counts; `onDone` gets a sentence, the order that takes it back, and whether it was for everyone. */
  constructor(room, { onDone, onUnauthenticated }) {
    this.room = room;
    this.onDone = onDone;
    this.onUnauthenticated = onUnauthenticated;
    this.dialog = find("#order");
    this.form = find("form", this.dialog);
    this.error = find(".error", this.dialog);
    this.result = find("#order-result");
    this.fields = this.form.elements;
    this.form.addEventListener("input", ({ target }) => this.#input(target));
    this.form.addEventListener("submit", (event) => this.#submit(event));
    this.dialog.addEventListener("cancel", (event) => this.sending && event.preventDefault());
    find("[data-close]", this.dialog).addEventListener("click", () => this.dialog.close());
    for (const one of findAll("[data-minutes]", this.dialog)) {
      one.addEventListener("click", () => this.#setMinutes(Number(one.dataset.minutes)));
    }
  }

  /** Open the dialog for an order: `attempts` null for all of the quiz. `given` is an order that is chosen already. */
  open(title, attempts, given = null) {
    if (this.sending) {
      this.#show();
      return;
    }
    this.locked = false;
    this.title = title;
    this.given = given;
    this.everyone = attempts === null;
    this.attempts = attempts;
    this.keys = new Keys();
    this.sending = false;
    this.seen = new Map((attempts ?? this.room.attempts()).map((one) => [one.id, orderState(one)]));
    this.noticed = new Set();
    this.noticedAt = -GLANCE;
    this.form.reset();
    this.result.replaceChildren();
    setText(this.error, "");
    show(find("#order-changed"), false);
    for (const one of this.fields) one.disabled = false;
    this.#fill();
    this.#refresh();
    this.#show();
    (title === "time" && !given ? this.fields.minutes : this.fields[title === "reopen" ? "limit" : "reason"]).focus();
  }

  #show() {
    if (!this.dialog.open) this.dialog.showModal();
  }

  #fill() {
    const { title, given, fields } = this;
    setText(find("#order-title"), TITLES[title]);
    show(find("#order-time"), title === "time");
    show(find("#order-limit"), title === "reopen");
    fields.kind.value = given?.kind ?? "extend";
    if (given?.minutes) fields.minutes.value = given.minutes;
    fields.end.min = text.localInput(now());
    setText(find("#zone"), text.zoneAt(now()));
    setText(find("#order-reason span"), title === "reopen" ? "Reason" : "Reason (optional)");
  }

  /* A field chooses the order that it is for, and “End at” begins with the end that there is. */
  #input(field) {
    const { kind, end } = this.fields;
    if (field.name === "minutes") kind.value = "extend";
    if (field.name === "end") kind.value = "endAt";
    if (field.name === "kind" && field.value === "endAt" && !end.value) {
      const ends = this.#fitting("endAt").map((one) => one.endsAt ?? 0);
      end.value = text.localInput(Math.max(now(), ...ends));
    }
    this.#refresh();
  }

  #setMinutes(minutes) {
    this.fields.kind.value = "extend";
    this.fields.minutes.value = minutes;
    this.#refresh();
  }

  /** The order as typed; its `problem` says why it cannot be sent. */
  #order() {
    const { title, fields, given } = this;
    const kind = title === "time" ? fields.kind.value : title;
    const order = { ...given, kind, reason: fields.reason.value.trim() };
    if (kind === "extend") order.minutes = wholeOf(fields.minutes);
    if (kind === "reopen") order.minutes = wholeOf(fields.limit);
    if (kind === "endAt") order.end = fields.end.value ? new Date(fields.end.value).getTime() : null;
    return { ...order, problem: this.#problem(order) };
  }

  #problem({ kind, minutes, end, reason }) {
    if (kind === "extend" && !(minutes && minutes >= -1440 && minutes <= 43200)) return "Enter a number of minutes, such as 10 or -5.";
    if (kind === "reopen" && !(minutes >= 1 && minutes <= 43200)) return "Enter how many minutes the attempt runs from now.";
    if (kind === "reopen" && !reason) return "Enter a reason: the history shows it.";
    if (kind === "endAt" && !Number.isFinite(end ?? NaN)) return "Enter the new end: date and time.";
    if (kind === "endAt" && end <= now()) return "This time has passed. Choose a later one, or “End now”.";
    if (kind === "endNow" && this.#count(kind) >= MANY && !this.fields.sure.checked) return "Confirm that so many attempts end.";
    return "";
  }

  #fitting(kind) {
    return (this.attempts ?? this.room.attempts()).filter((one) => ORDERS[kind].fits(one));
  }

  /** The number of learners that the order touches: of all, the service's own count. */
  #count(kind) {
    const { counts } = this.room;
    if (!this.everyone || !counts) return this.#fitting(kind).length;
    return { pause: counts.in_progress, resume: counts.paused }[kind] ?? counts.in_progress + counts.paused;
  }

  #refresh() {
    if (this.sending) return;
    const order = this.#order();
    const count = this.#count(order.kind);
    setText(find("#order-who"), this.#who(order.kind, count));
    this.#name(order.kind, count);
    setText(find("#order-hint"), [HINTS[order.kind], this.#warning(order)].filter(Boolean).join(" "));
    show(find("#order-sure"), order.kind === "endNow" && count >= MANY);
    setText(find("#order-sure span"), `Yes, end the attempts of ${text.plural(count, "learner")}`);
    const send = find("#order-send");
    setText(send, order.problem && order.kind !== "endNow" ? "Send" : ORDERS[order.kind].verb(order, count));
    send.classList.toggle("danger", order.kind === "endNow" || order.minutes < 0);
    send.disabled = count === 0;
  }

  #who(kind, count) {
    if (this.everyone) return `For everyone who is not done: ${text.plural(count, "learner")}.`;
    const others = this.attempts.length - count;
    const rest = others ? ` ${text.plural(others, "other")} of the selected cannot be changed so.` : "";
    return count ? `For ${text.plural(count, "learner")}.${rest}` : `For none: ${others === 1 ? "it is in another state" : "all are in another state"} by now.`;
  }

  #name(kind, count) {
    const named = this.everyone ? [] : this.#fitting(kind).slice(0, NAMED);
    const more = this.everyone ? 0 : count - named.length;
    const names = named.map((one) => make("li", {}, one.name));
    if (more > 0) names.push(make("li", {}, `and ${text.number(more)} more`));
    find("#order-names").replaceChildren(...names);
  }

  #warning(order) {
    if (order.kind !== "extend" || !(order.minutes < 0)) return "";
    const ending = this.#fitting("extend").filter((one) => (one.left(now()) ?? Infinity) <= -order.minutes * 60000).length;
    return ending ? `${sentenceStart(ending)} at once.` : "";
  }

  /** Tell about orders of another teacher since the dialog was opened. */
  notice(changed) {
    if (!this.dialog.open || this.sending) return;
    for (const one of changed) {
      if (!this.seen.has(one.id)) continue;
      this.noticed.add(one.name);
      this.noticedAt = performance.now();
    }
    const names = [...this.noticed];
    show(find("#order-changed"), names.length > 0);
    const who = names.length > NAMED ? text.plural(names.length, "attempt") : names.join(", ");
    setText(find("#order-changed"), names.length ? `Changed since this dialog was opened, by another teacher or its end: ${who}.` : "");
    this.#refresh();
  }

  async #submit(event) {
    event.preventDefault();
    const order = this.#order();
    // A click may have been on its way when the dialog has changed.
    const problem = performance.now() - this.noticedAt < GLANCE ? "Read what has changed, then send the order." : order.problem;
    setText(this.error, problem);
    if (problem || this.sending) return;
    this.#sending(true);
    const ends = new Map(this.#fitting(order.kind).filter((one) => one.item.status === "in_progress").map((one) => [one.id, one.endsAt]));
    try {
      await (this.everyone ? this.#sendToAll(order, ends) : this.#sendToEach(order, ends));
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure;
      this.#fail(failure);
    } finally {
      this.#sending(false);
    }
  }

  #sending(active) {
    this.sending = active;
    for (const one of this.fields) one.disabled = active || (this.locked && one.tagName !== "BUTTON");
    find("#order-send").disabled = active;
    if (active) setText(find("#order-send"), "Sending…");
    else this.#refresh();
  }

  #progress(sentence) {
    this.result.replaceChildren(make("p", {}, sentence));
  }

  async #sendToAll(order, ends) {
    // An attempt that starts meanwhile is not reached: it must not lose by Undo what it never got.
    const before = new Set([...this.room.attempts()].map((one) => one.id));
    const { changed, unchanged } = await giveToAll(order, this.room.quiz, this.keys, (words) => this.#progress(words));
    const refused = [...unchanged].filter(([, code]) => code !== null);
    const same = unchanged.size - refused.length;
    const reached = new Map([...ends].filter(([id]) => !unchanged.has(id)));
    const parts = [`${text.plural(changed, "learner")}: ${ORDERS[order.kind].past(order)}.`];
    if (same) parts.push(`${text.plural(same, "learner")}: it was so already.`);
    const lines = refused.map(([id, code]) => [this.room.nameOf(id), reasonFor(code)]);
    const touched = [...this.room.attempts()].filter((one) => one.live && before.has(one.id) && !unchanged.has(one.id));
    this.#finish(order, parts.join(" "), lines, this.#undo(order, reached, touched));
  }

  async #sendToEach(order, ends) {
    const fitting = this.#fitting(order.kind);
    const results = await giveToEach(order, fitting, this.seen, this.keys, (words) => this.#progress(words));
    const of = (outcome) => results.filter((one) => one.outcome === outcome);
    const [changed, same] = [of("changed"), of("same")];
    const open = results.filter((one) => one.message);
    const parts = [`${text.plural(changed.length, "learner")}: ${ORDERS[order.kind].past(order)}.`];
    if (same.length) parts.push(`${text.plural(same.length, "learner")}: it was so already.`);
    const reached = changed.map((one) => one.attempt);
    const kept = new Map(reached.filter((one) => ends.has(one.id)).map((one) => [one.id, ends.get(one.id)]));
    const undo = reached.length ? this.#undo(order, kept, reached) : null;
    for (const one of of("changedMeanwhile")) this.seen.set(one.attempt.id, orderState(one.attempt));
    this.attempts = open.length ? open.map((one) => one.attempt) : this.attempts;
    this.#finish(order, parts.join(" "), open.map((one) => [one.attempt.name, one.message]), undo);
    if (open.some((one) => one.status === 401)) this.onUnauthenticated();
  }

  #undo(order, ends, attempts) {
    const undo = undoOf(order, ends);
    if (!undo) return null;
    return { order: undo, attempts: undo.kind === "restore" ? attempts.filter((one) => undo.ends.has(one.id)) : attempts };
  }

  /* A result without any refusal needs no further look: the page says it, and the dialog goes. */
  #finish(order, sentence, lines, undo) {
    this.onDone(sentence, undo, this.everyone);
    if (!lines.length) {
      this.dialog.close();
      return;
    }
    this.#show();
    this.result.replaceChildren(
      make("p", {}, sentence, ` Not changed: ${text.number(lines.length)}.`),
      make("ul", { class: "refusals" }, ...lines.map(([name, why]) => make("li", {}, make("strong", {}, name), ` ${why}`))),
    );
  }

  #fail(failure) {
    const again = failure.passing ? " Some learners may have got the order already. Send it again: none gets it twice." : "";
    this.result.replaceChildren();
    setText(this.error, failure.message + again);
    // Another order would have another key, and could come on top of this one.
    this.locked ||= failure.passing;
    this.#show();
    if (failure.status === 401) this.onUnauthenticated();
  }
}

const wholeOf = (field) => (/^-?\d+$/.test(field.value) ? Number(field.value) : NaN);
const sentenceStart = (count) => (count === 1 ? "The attempt of 1 learner ends" : `The attempts of ${text.number(count)} learners end`);
