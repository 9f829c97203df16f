/* Polling: asks for the list every five seconds with its ETag, and less often in a hidden tab. */

import { now } from "./clock.js";
import { send } from "./service.js";

export const INTERVAL = 5000; // milliseconds between two requests, at least
const HIDDEN_INTERVAL = 60000;
export const LIMIT = 1000; // sessions of a page, the maximum of the contract

export class Watch {
  #query = null;
  #tag = null;
  #timer = 0;
  #startedAt = -INTERVAL;
  #round = 0;
  #waitUntil = 0;

  /** `onPage` gets a new page or null for an unchanged one, `onFailure` a Failure. */
  constructor(onPage, onFailure) {
    this.onPage = onPage;
    this.onFailure = onFailure;
    document.addEventListener("visibilitychange", () => this.#schedule());
  }

  /** Poll the list with these parameters from now on; a running request for others is forgotten. */
  watch(query) {
    this.#query = { ...query, limit: LIMIT };
    this.#tag = null;
    this.#round += 1;
    this.#schedule();
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
    try {
      const reply = await send("GET", "api/sessions", { query: this.#query, tag: this.#tag });
      if (round !== this.#round) return;
      this.#tag = reply.tag;
      this.onPage(reply.body, now());
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
}
