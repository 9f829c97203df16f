/* Table of the learners: keeps its order while the pointer or the focus is in it. */

import { find, findAll, setText, show } from "./dom.js";
import { Row } from "./row.js";
import * as text from "./text.js";

const TOUCH_REST = 6000; // milliseconds without a touch after which rows may move

export class Table {
  #rows = new Map();
  #shown = [];
  #pointed = false;
  #touchedAt = -TOUCH_REST;

  constructor() {
    this.body = find("#rows");
    this.resort = find("#resort");
    this.body.addEventListener("pointerenter", (event) => this.#point(event, true));
    this.body.addEventListener("pointerleave", (event) => this.#point(event, false));
    this.body.addEventListener("keydown", (event) => this.#step(event));
    for (const kind of ["touchstart", "touchmove"]) {
      this.body.addEventListener(kind, () => (this.#touchedAt = performance.now()), { passive: true });
    }
  }

  /** Whether rows must stay where they are: one of them may be about to be clicked. */
  get frozen() {
    const touched = performance.now() - this.#touchedAt < TOUCH_REST;
    return this.#pointed || touched || this.body.contains(document.activeElement) || find("dialog[open]") !== null;
  }

  /** Show these attempts. In a frozen table new ones come last, none goes and none moves, unless `now` is asked. */
  arrange(attempts, { at, idleMinutes, selected, move }) {
    const wanted = attempts.map((one) => one.id);
    for (const attempt of attempts) {
      const row = this.#rows.get(attempt.id);
      // An attempt that had left the list comes back as another object.
      if (row) row.attempt = attempt;
      else this.#rows.set(attempt.id, new Row(attempt));
    }
    const held = this.frozen && !move;
    const kept = new Set(this.#shown);
    const next = held ? [...this.#shown, ...wanted.filter((id) => !kept.has(id))] : wanted;
    this.#place(next);
    this.refresh(at, idleMinutes, selected);
    const moves = held ? movesBetween(next, wanted) : 0;
    show(this.resort, moves > 0);
    setText(this.resort, moves > 0 ? `${text.plural(moves, "row")} would move: sort now` : "");
  }

  /** Update the contents of all rows that are shown. */
  refresh(at, idleMinutes, selected) {
    for (const id of this.#shown) this.#rows.get(id).update(at, idleMinutes, selected.has(id));
  }

  get shown() {
    return this.#shown;
  }

  /** Take the row of an erased attempt away, also in a frozen table. */
  remove(id) {
    this.#rows.get(id)?.element.remove();
    this.#rows.delete(id);
    this.#shown = this.#shown.filter((one) => one !== id);
  }

  clear() {
    this.#rows.clear();
    this.#shown = [];
    this.body.replaceChildren();
  }

  #place(next) {
    if (next.length === this.#shown.length && next.every((id, index) => id === this.#shown[index])) return;
    this.#shown = next;
    const wanted = new Set(next);
    for (const row of [...this.body.children]) if (!wanted.has(row.dataset.id)) row.remove();
    next.forEach((id, index) => {
      const { element } = this.#rows.get(id);
      const there = this.body.children[index];
      if (there !== element) this.body.insertBefore(element, there ?? null);
    });
  }

  #point(event, inside) {
    if (event.pointerType !== "touch") this.#pointed = inside;
  }

  /* The arrow keys lead to the same control of the row above or below. */
  #step(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const row = event.target.closest("tr");
    if (!step || !row) return;
    const there = step > 0 ? row.nextElementSibling : row.previousElementSibling;
    if (!there) return;
    const controls = (place) => findAll("input, button", place);
    const place = controls(row).indexOf(event.target);
    const others = controls(there);
    others[Math.min(place, others.length - 1)]?.focus();
    event.preventDefault();
  }
}

/** The number of rows that would move: all but the longest run of them that stays in order. */
export function movesBetween(shown, wanted) {
  const places = new Map(wanted.map((id, index) => [id, index]));
  const ends = [];
  for (const id of shown) {
    const place = places.get(id);
    if (place === undefined) continue;
    let low = 0;
    let high = ends.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (ends[middle] < place) low = middle + 1;
      else high = middle;
    }
    ends[low] = place;
  }
  return shown.length - ends.length;
}
