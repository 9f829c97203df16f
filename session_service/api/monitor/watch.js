/* Polling: asks for the list every five seconds with its ETag, and less often in a hidden tab. */

import { now } from "./clock.js";
import { send } from "./service.js";

export const INTERVAL = 5000; // milliseconds between two requests, at least
const HIDDEN_INTERVAL = 60000;
const PAGE = 100; // sessions of a page, the maximum of the contract
const PAGES = 10;
export const MOST = PAGE * PAGES; // sessions that the page shows

export class Watch {
  #query = null;
  #pages = new Map(); // the last page of each cursor, with its ETag
  #timer = 0;
  #startedAt = -INTERVAL;
  #round = 0;
  #waitUntil = 0;
  #afterPoll = null; // called after a poll that began later than the request for it

  /** `onPage` gets the list as one page, or null if it is unchanged, `onFailure` a Failure. */
  constructor(onPage, onFailure) {
    this.onPage = onPage;
    this.onFailure = onFailure;
    document.addEventListener("visibilitychange", () => this.#schedule());
  }

  /** Poll the list with these parameters from now on; a running request for others is forgotten. */
  watch(query) {
    this.#query = { ...query, limit: PAGE };
    this.#pages = new Map();
    this.#round += 1;
    this.#schedule();
  }

  /** Call a function once a poll that begins from now on has shown its list; it replaces an earlier one. */
  afterNextPoll(call) {
    this.#afterPoll = call;
  }

  stop() {
    this.#round += 1;
    this.#query = null;
    clearTimeout(this.#timer);
  }

  #schedule() {
    clearTimeout(this.#timer);
    if (!this.#query) return;
    const interval = document.hidden ? HIDDEN_INTERVAL : INTERVAL;
    const next = Math.max(this.#startedAt + interval, this.#waitUntil);
    this.#timer = setTimeout(() => this.#poll(), Math.max(0, next - performance.now()));
  }

  async #poll() {
    this.#startedAt = performance.now();
    const round = (this.#round += 1);
    const afterPoll = this.#afterPoll;
    try {
      const list = await this.#read();
      if (round !== this.#round) return;
      this.onPage(list, now());
      if (afterPoll && afterPoll === this.#afterPoll) {
        this.#afterPoll = null;
        afterPoll();
      }
    } catch (failure) {
      if (round !== this.#round) return;
      this.#waitUntil = performance.now() + (failure.retryAfter ?? 0) * 1000;
      // With a new token the next poll is the first one.
      if (failure.status === 401) this.#startedAt = -INTERVAL;
      this.onFailure(failure);
    }
    // A reply ends its own round only: a later one has its own timer.
    if (round === this.#round) this.#schedule();
  }

  /* The newest sessions as one page; null if no page has changed. */
  async #read() {
    const wanted = this.#query;
    const before = this.#pages;
    const pages = new Map();
    let changed = false;
    let cursor = "";
    for (let more = true; more; ) {
      const known = before.get(cursor);
      const query = cursor ? { ...wanted, cursor } : wanted;
      const { tag, body } = await send("GET", "api/sessions", { query, tag: known?.tag });
      changed ||= body !== null;
      const page = body ?? known.page;
      pages.set(cursor, { tag, page });
      cursor = page.next_cursor;
      more = cursor !== null && pages.size < PAGES;
    }
    // Another query may have been asked for meanwhile.
    if (this.#pages === before) this.#pages = pages;
    return changed || pages.size !== before.size ? joined([...pages.values()].map(({ page }) => page)) : null;
  }
}

function joined(pages) {
  const { next_cursor, counts } = pages.at(-1);
  return { items: pages.flatMap((page) => page.items), next_cursor, counts };
}
