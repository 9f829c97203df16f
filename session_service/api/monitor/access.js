/* Access: the token and the quiz, typed into a form or handed over by the window that has opened this page. */

import { find, setText, show } from "./dom.js";
import { hasToken, useToken } from "./service.js";

const READY = "session-service-monitor-ready";
const ACCESS = "session-service-monitor-access";

export class Access {
  #later = null;

  /** `onOpen` gets a quiz id once there is access to it, `onOffer` a quiz that another one would replace. */
  constructor({ needsToken, origins }, { quiz, onOpen, onOffer }) {
    this.needsToken = needsToken;
    this.origins = new Set(origins);
    this.quiz = quiz;
    this.onOpen = onOpen;
    this.onOffer = onOffer;
    this.dialog = find("#access");
    this.form = find("form", this.dialog);
    this.error = find(".error", this.dialog);
    this.form.addEventListener("submit", (event) => this.#submit(event));
    this.dialog.addEventListener("cancel", (event) => !this.quiz() && event.preventDefault());
    // A browser closes a dialog at the second Escape, whatever its page says.
    this.dialog.addEventListener("close", () => this.quiz() === null && this.ask());
    find("[data-close]", this.dialog).addEventListener("click", () => this.dialog.close());
    show(find("#access-token"), needsToken);
    show(find("#access-hint"), needsToken);
    addEventListener("message", (event) => this.#receive(event));
    if (opener) for (const origin of this.origins) opener.postMessage({ type: READY }, origin);
  }

  /** Ask for a quiz and a token, or for a new token only; the page behind stays as it is. */
  ask(why = "", quiz = "", { change = this.quiz() === null } = {}) {
    const known = !change;
    this.changing = change;
    setText(find("#access-why"), why);
    show(find("#access-why"), why !== "");
    setText(find("#access-title"), known ? "A new token is needed" : "Open an exam");
    show(find("#access-quiz"), !known);
    show(find("[data-close]", this.dialog), this.quiz() !== null);
    setText(find("#access-token span"), change && hasToken() ? "Token, if it is another one" : "Token");
    setText(this.error, "");
    setText(find(".main", this.dialog), known ? "Go on" : "Open");
    if (quiz) this.form.elements.quiz.value = quiz;
    if (!this.dialog.open) this.dialog.showModal();
    this.form.elements[this.needsToken && (known || this.form.elements.quiz.value) ? "token" : "quiz"].focus();
    if (why && opener) for (const origin of this.origins) opener.postMessage({ type: READY }, origin);
  }

  #submit(event) {
    event.preventDefault();
    const fields = this.form.elements;
    const quiz = this.changing ? fields.quiz.value.trim() : this.quiz();
    const needed = this.needsToken && !(this.changing && hasToken() && !fields.token.value);
    const problem = quiz ? (needed ? useToken(fields.token.value) : "") : "Enter the id of the quiz.";
    setText(this.error, problem);
    if (!problem) this.#open(quiz);
  }

  #open(quiz) {
    this.form.reset();
    setText(this.error, "");
    this.dialog.close();
    this.onOpen(quiz);
  }

  /* Only the window that has opened this page, and only while it shows a page of an allowed origin. */
  #receive({ origin, source, data }) {
    if (!this.origins.has(origin) || source !== opener || data?.type !== ACCESS) return;
    const quiz = ["string", "number"].includes(typeof data.quiz_id) ? String(data.quiz_id) : null;
    const token = typeof data.token === "string" ? data.token : "";
    const current = this.quiz();
    if (current !== null && quiz !== null && quiz !== current) {
      // The exam that a teacher is steering stays; the other one waits for a click.
      this.#later = { quiz, token };
      this.onOffer(quiz);
    } else {
      this.#take(quiz ?? current, token);
    }
  }

  /** Open the quiz that was offered. */
  takeOffer() {
    if (this.#later) this.#take(this.#later.quiz, this.#later.token);
  }

  #take(quiz, token) {
    const problem = token && this.needsToken ? useToken(token) : "";
    if (problem || !quiz || (this.needsToken && !hasToken())) {
      this.ask(problem, quiz ?? "");
      return;
    }
    this.#open(quiz);
  }
}
