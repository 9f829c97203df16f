/* Exam monitor: joins the list, the table, the orders, the history and the access. */

import { Access } from "./access.js";
import { Attempt, SORTS, STATES, arranged, summarize } from "./attempts.js";
import { now } from "./clock.js";
import { find, findAll, make, mark, setText, show } from "./dom.js";
import { HistoryPanel } from "./history.js";
import { OrderDialog } from "./order_dialog.js";
import { hasToken } from "./service.js";
import { Table } from "./table.js";
import * as text from "./text.js";
import { MOST, Watch } from "./watch.js";

const FILTERS = { all: "All", attention: "For attention", ...STATES };
const LOADS = {
  "": "the newest",
  in_progress: "in progress",
  paused: "paused",
  completed: "completed",
  expired: "expired",
};

const attempts = new Map();
const selected = new Set();
const view = { filter: "all", search: "", sort: "attention", idleMinutes: 3 };
const room = {
  quiz: null,
  counts: null,
  attempts: () => [...attempts.values()].filter((one) => one.listed),
  nameOf: (id) => attempts.get(id)?.name ?? id,
};
let updatedAt = null;
let table;
let access;
let orders;
let history;
let watch;
let refused = false;

function onPage(page, at) {
  updatedAt = at;
  refused = false;
  show(find("#stale"), false);
  if (page) takePage(page, at);
  draw();
}

function takePage(page, at) {
  const changed = [];
  for (const one of attempts.values()) one.listed = false;
  for (const item of page.items) {
    const known = attempts.get(item.id);
    if (!known) attempts.set(item.id, new Attempt(item));
    else if (known.update(item, at)) changed.push(known);
  }
  room.counts = page.counts;
  // An attempt that is neither listed nor older than the list was erased; with a filter of the service it may have changed.
  const oldest = page.next_cursor === null ? -Infinity : Date.parse(page.items.at(-1).created_at);
  for (const [id, one] of attempts) {
    if (one.listed || !(watchedStatus() || one.createdAt > oldest)) continue;
    attempts.delete(id);
    if (!watchedStatus()) table.remove(id);
  }
  for (const id of selected) if (!attempts.has(id)) selected.delete(id);
  showMore(page);
  orders.notice(changed);
}

const watchedStatus = () => find("#status").value;

function showMore({ next_cursor: more, counts }) {
  const total = counts ? counts.in_progress + counts.paused + counts.completed + counts.expired : 0;
  show(find("#scope"), more !== null || watchedStatus() !== "");
  show(find("#more"), more !== null);
  if (more === null) return;
  const which = watchedStatus() ? ` that are ${LOADS[watchedStatus()]}` : "";
  const of = watchedStatus() ? "" : ` of ${text.number(total)}`;
  setText(find("#more"), `These are the newest ${text.number(MOST)}${of} attempts${which}. “Load” shows others; orders for everyone reach all.`);
}

function onFailure(failure) {
  const since = updatedAt === null ? "" : `Not up to date since ${text.timeOf(updatedAt)}. `;
  refused = [400, 401, 403].includes(failure.status);
  const again = refused ? "" : " The page tries again by itself.";
  setText(find("#stale"), `${since}${failure.message}${again}`);
  show(find("#stale"), true);
  if (refused) watch.stop();
  if (failure.status === 401) onUnauthenticated();
  else if (refused) access.ask(failure.message, room.quiz, { change: true });
  draw();
}

function onUnauthenticated() {
  watch.stop();
  refused = true;
  access.ask(hasToken() ? "The token has expired, or the service does not accept it. Nothing that you have typed or selected is lost." : "");
}

function onOpen(quiz) {
  if (room.quiz !== quiz) {
    attempts.clear();
    selected.clear();
    table.clear();
    room.counts = null;
    updatedAt = null;
    find("#status").value = "";
  }
  room.quiz = quiz;
  document.documentElement.dataset.open = "";
  refused = false;
  show(find("#notice"), false);
  document.title = `Quiz ${quiz} – Exam monitor`;
  setText(find("#quiz"), `Quiz ${quiz}`);
  startWatch();
}

function startWatch() {
  const status = watchedStatus();
  watch.watch(status ? { quiz_id: room.quiz, status } : { quiz_id: room.quiz });
}

function tell(sentence, label = "", action = null) {
  const [words, act] = find("#notice").children;
  setText(words, sentence);
  setText(act, label);
  show(act, action !== null);
  act.onclick = action;
  show(find("#notice"), true);
}

/** Arrange and draw the whole page; `move` lets rows move although the pointer is among them. */
function draw(move = false) {
  const at = now();
  const all = [...attempts.values()];
  show(find("#room"), updatedAt !== null);
  show(find("#everyone"), updatedAt !== null);
  show(find("#change"), room.quiz !== null);
  drawSummary(summarize(all, at, view.idleMinutes), at);
  const shown = arranged(all, view, at);
  table.arrange(shown, { at, idleMinutes: view.idleMinutes, selected, move });
  show(find("#empty"), updatedAt !== null && table.shown.length === 0);
  setText(find("#empty"), all.length ? "No learner is in this view." : "No learner has started this quiz yet.");
  drawSelection();
  history.refresh();
}

function drawSummary(counts, at) {
  for (const one of findAll("button", find("#summary"))) {
    const { filter } = one.dataset;
    setText(find(".count", one), text.number(counts[filter]));
    one.setAttribute("aria-pressed", String(view.filter === filter));
    show(one, counts[filter] > 0 || view.filter === filter || !["overdue", "unlisted"].includes(filter));
    one.classList.toggle("none", counts[filter] === 0);
  }
  for (const part of find("#bar").children) part.style.flexGrow = counts[part.dataset.state];
  const ends = room.attempts().filter((one) => one.live && one.endsAt !== null).map((one) => one.endsAt);
  const latest = Math.max(...ends);
  setText(find("#ends"), ends.length ? `Last end ${text.momentOf(latest, at)}` : "");
}

function drawSelection() {
  show(find("#selection"), selected.size > 0);
  const visible = new Set(table.shown);
  const hidden = [...selected].filter((id) => !visible.has(id)).length;
  const rest = hidden ? `, ${text.number(hidden)} of them not in this view` : "";
  setText(find("#selected"), selected.size ? `${text.plural(selected.size, "learner")} selected${rest}` : "");
  const box = find("#pick-all");
  const picked = table.shown.filter((id) => selected.has(id)).length;
  box.checked = picked > 0 && picked === table.shown.length;
  box.indeterminate = picked > 0 && picked < table.shown.length;
}

function tick() {
  const at = now();
  setText(find("#clock"), updatedAt === null ? "" : text.preciseTimeOf(at));
  table.refresh(at, view.idleMinutes, selected);
}

function changeView(changes) {
  Object.assign(view, changes);
  for (const one of findAll("[data-sort]")) {
    const current = one.dataset.sort === view.sort;
    one.closest("th").setAttribute("aria-sort", current ? "ascending" : "none");
  }
  find("#sort").value = view.sort;
  draw(true);
}

function openOrder(kind, chosen) {
  if (kind === "history") history.open(acknowledge(chosen[0]));
  else orders.open(kind, chosen);
}

/* A change of the device needs no attention any more once its history has been looked at. */
function acknowledge(attempt) {
  attempt.switched = false;
  draw();
  return attempt;
}

function onDone(sentence, undo, everyone) {
  const open = () => orders.open(undo.order.kind === "extend" ? "time" : undo.order.kind, undo.attempts, undo.order);
  const offer = () => tell(sentence, "Undo…", open);
  // The reply to an order for everyone has no attempts: before the next list they look like changed by another teacher.
  if (undo && !everyone) offer();
  else tell(sentence);
  watch.afterNextPoll(undo && everyone ? offer : null);
  draw();
}

function factsOf(attempt) {
  const at = now();
  const left = attempt.left(at);
  return [
    ["User", attempt.item.user_id],
    ["State", attempt.words(at, view.idleMinutes)],
    ["Answered", text.number(attempt.item.answered)],
    ["Ends", attempt.endsAt === null ? "no end" : text.momentOf(attempt.endsAt, at)],
    ["Time left", left === null ? "–" : text.duration(left)],
  ];
}

function ordersOf({ item }) {
  if (item.status === "paused") return ["time", "resume"];
  return item.status === "in_progress" ? ["time", "pause"] : ["reopen"];
}

function listen() {
  find("#search").addEventListener("input", (event) => changeView({ search: event.target.value }));
  find("#sort").addEventListener("change", (event) => changeView({ sort: event.target.value }));
  find("#idle").addEventListener("input", ({ target }) => {
    if (target.validity.valid && target.value) changeView({ idleMinutes: Number(target.value) });
  });
  find("#status").addEventListener("change", startWatch);
  find("#change").addEventListener("click", () => access.ask("", "", { change: true }));
  find("#resort").addEventListener("click", () => draw(true));
  find("#clear").addEventListener("click", () => select([...selected], false));
  find("#pick-all").addEventListener("change", ({ target }) => select(table.shown, target.checked));
  find("#notice .close").addEventListener("click", () => {
    watch.afterNextPoll(null);
    show(find("#notice"), false);
  });
  find("#rows").addEventListener("change", ({ target }) => select([target.closest("tr").dataset.id], target.checked));
  document.addEventListener("click", ({ target }) => onClick(target.closest("button")));
}

function select(ids, chosen) {
  for (const id of ids) if (chosen && attempts.has(id)) selected.add(id);
  else selected.delete(id);
  draw();
}

function onClick(button) {
  const { one, some, all, side, sort, filter } = button?.dataset ?? {};
  const attempt = attempts.get(button?.closest("tr")?.dataset.id);
  // The row of an attempt that has gone stays while the table is frozen.
  if (one && attempt) openOrder(one, [attempt]);
  if (some) openOrder(some, [...selected].map((id) => attempts.get(id)));
  if (all) openOrder(all, null);
  if (side) openOrder(side, [history.attempt]);
  if (sort) changeView({ sort });
  if (filter) changeView({ filter: view.filter === filter ? "all" : filter });
}

function build() {
  const chip = ([filter, label]) =>
    make("button", { type: "button", "data-filter": filter }, mark(filter), make("span", { class: "count" }, "0"), make("span", {}, label.toLowerCase()));
  find("#summary").append(...Object.entries(FILTERS).map(chip));
  find("#bar").append(...Object.keys(STATES).map((state) => make("span", { "data-state": state })));
  find("#sort").append(...Object.entries(SORTS).map(([value, label]) => make("option", { value }, label)));
  find("#status").append(...Object.entries(LOADS).map(([value, label]) => make("option", { value }, label)));
}

async function start() {
  build();
  table = new Table();
  watch = new Watch(onPage, onFailure);
  orders = new OrderDialog(room, { onDone, onUnauthenticated });
  history = new HistoryPanel({ onUnauthenticated, facts: factsOf, orders: ordersOf });
  listen();
  changeView({});
  setInterval(tick, 1000);
  const settings = await (await fetch("monitor/settings.json")).json();
  access = new Access(settings, {
    quiz: () => room.quiz,
    onOpen,
    onOffer: (quiz) => tell(`The platform has handed over quiz ${quiz}. This page still shows quiz ${room.quiz}.`, `Show quiz ${quiz}`, () => access.takeOffer()),
  });
  access.ask("", new URLSearchParams(location.search).get("quiz") ?? "");
}

start();
