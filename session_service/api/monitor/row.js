/* A row of the table: built once, and updated in place. */

import { STATES } from "./attempts.js";
import { make, mark, setMark, setText, show } from "./dom.js";
import * as text from "./text.js";

export class Row {
  constructor(attempt) {
    this.attempt = attempt;
    const part = (name, ...children) => make("td", { class: name }, ...children);
    this.box = make("input", { type: "checkbox" });
    this.boxName = make("span", { class: "sr" });
    this.name = make("span", { class: "name" });
    this.user = make("span", { class: "user" });
    this.mark = mark("working");
    this.words = make("span", { class: "words" });
    this.device = make("span", { class: "note" }, mark("device"), make("span"));
    this.late = make("span", { class: "note" });
    this.answered = part("number answered");
    this.left = part("number left");
    this.saved = part("number saved");
    this.buttons = Array.from({ length: 3 }, () => make("button", { type: "button" }, make("span"), make("span", { class: "sr" })));
    this.element = make(
      "tr",
      { "data-id": attempt.id },
      part("pick", make("label", {}, this.box, this.boxName)),
      make("th", { class: "learner", scope: "row" }, this.name, this.user),
      part("state", make("span", { class: "line" }, make("span", { class: "main-state" }, this.mark, this.words), this.device, this.late)),
      this.answered,
      this.left,
      this.saved,
      part("orders", make("span", { class: "buttons" }, ...this.buttons)),
    );
  }

  update(now, idleMinutes, selected) {
    const { attempt } = this;
    const { item, name } = attempt;
    const state = attempt.state(now, idleMinutes);
    if (this.element.dataset.state !== state) this.element.dataset.state = state;
    this.element.classList.toggle("alarming", attempt.needsAttention(now, idleMinutes));
    this.element.classList.toggle("selected", selected);
    if (this.box.checked !== selected) this.box.checked = selected;
    setText(this.boxName, `Select ${name}`);
    setText(this.name, name);
    const attemptNumber = item.attempt > 1 ? `attempt ${item.attempt}` : "";
    setText(this.user, [name === item.user_id ? "" : item.user_id, attemptNumber].filter(Boolean).join(", "));
    setMark(this.mark, state in STATES ? state : "working");
    setText(this.words, attempt.words(now, idleMinutes));
    this.#note();
    this.#times(now);
    this.#offer();
  }

  #note() {
    const { devices, switched, item } = this.attempt;
    show(this.device, devices.size > 1);
    this.device.classList.toggle("fresh", switched);
    setText(this.device.lastChild, switched ? "New device" : `${devices.size} devices`);
    show(this.late, item.late_saves > 0);
    setText(this.late, item.late_saves > 0 ? text.plural(item.late_saves, "late save") : "");
  }

  #times(now) {
    const { attempt } = this;
    setText(this.answered, text.number(attempt.item.answered));
    const left = attempt.left(now);
    setText(this.left, left === null ? (attempt.live ? "no end" : "") : left <= 0 ? "over" : text.duration(left));
    this.left.classList.toggle("soon", left !== null && left < 5 * 60000);
    setText(this.saved, attempt.neverSaved ? "–" : text.ago(now - attempt.savedAt));
  }

  /* The same three buttons in all states: one that has the focus, or is about to be clicked, keeps its place. */
  #offer() {
    const { item, listed, name } = this.attempt;
    const kinds = { in_progress: ["time", "pause"], paused: ["time", "resume"] }[item.status] ?? ["reopen", ""];
    [...(listed ? kinds : ["", ""]), "history"].forEach((kind, place) => {
      const one = this.buttons[place];
      const focused = one === document.activeElement;
      show(one, kind !== "");
      if (focused && kind === "") this.buttons.find((other) => !other.hidden)?.focus();
      if (kind === "") return;
      if (one.dataset.one !== kind) one.dataset.one = kind;
      setText(one.firstChild, LABELS[kind]);
      setText(one.lastChild, ` for ${name}`);
    });
  }
}

const LABELS = { time: "Time…", pause: "Pause…", resume: "Resume…", reopen: "Reopen…", history: "History" };
