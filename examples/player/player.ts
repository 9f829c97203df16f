/**
 * A quiz player: one page, `?user=…&quiz=…&service=…`. Answers are kept on the device, saved in the background, and
 * continued on any other device of the user.
 */
import { Attempt, Autosave, createClient, indexedDbStore, type AnswerChange } from "session-service-client";

type Question = { id: string; text: string } & (
  | { kind: "text" | "essay" | "number" }
  | { kind: "choice" | "choices"; options: string[] }
);

const QUESTIONS: Question[] = [
  { id: "capital", text: "What is the capital of France?", kind: "text" },
  { id: "planet", text: "Which planet is the largest?", kind: "choice", options: ["Jupiter", "Saturn", "Neptune"] },
  { id: "primes", text: "Which numbers are prime?", kind: "choices", options: ["2", "9", "11", "15"] },
  { id: "product", text: "What is 12 times 12?", kind: "number" },
  { id: "reason", text: "Why do the seasons change?", kind: "essay" },
];

// A platform would have the user from its login, and pass `token` to Attempt.
const parameters = new URLSearchParams(location.search);
const user = parameters.get("user") ?? "ada";
const quiz = parameters.get("quiz") ?? "1";
const service = parameters.get("service") ?? "http://127.0.0.1:3005";

const find = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;
const [form, handIn] = [find<HTMLFormElement>("quiz"), find<HTMLButtonElement>("hand-in")];

// A name for each user and quiz: other learners may use this device, too.
const name = `attempt:${encodeURIComponent(user)}:${encodeURIComponent(quiz)}`;
const attempt = new Attempt(createClient({ baseUrl: service }), indexedDbStore(), name);
const autosave = new Autosave(attempt, { user_id: user, quiz_id: quiz });

for (const question of QUESTIONS) form.append(fieldsOf(question));
form.addEventListener("input", ({ target }) => {
  const question = QUESTIONS.find(({ id }) => id === (target as HTMLInputElement).name);
  if (question) void attempt.answer(question.id, answerOf(question));
});
form.addEventListener("submit", (event) => event.preventDefault());
handIn.addEventListener("click", () => {
  if (confirm("Hand in? The answers cannot be changed afterwards.")) void attempt.complete();
});
attempt.on(show);
setInterval(showTime, 500);
autosave.start();

/** Makes the inputs of a question; each has the question's id as its name. */
function fieldsOf(question: Question): HTMLFieldSetElement {
  const fields = document.createElement("fieldset");
  const legend = fields.appendChild(document.createElement("legend"));
  legend.textContent = question.text;
  if ("options" in question) {
    for (const option of question.options) {
      const label = fields.appendChild(document.createElement("label"));
      const type = question.kind === "choice" ? "radio" : "checkbox";
      label.append(input(question.id, type, option), ` ${option}`);
    }
  } else if (question.kind === "essay") {
    const area = fields.appendChild(document.createElement("textarea"));
    Object.assign(area, { name: question.id, rows: 6, ariaLabel: question.text });
  } else {
    const field = fields.appendChild(input(question.id, question.kind, ""));
    field.ariaLabel = question.text;
  }
  return fields;
}

function input(id: string, type: string, value: string): HTMLInputElement {
  return Object.assign(document.createElement("input"), { name: id, type, value, step: "any", autocomplete: "off" });
}

/** Returns the inputs of a question. */
function inputsOf({ id }: Question): HTMLInputElement[] {
  return [...form.elements].filter((one): one is HTMLInputElement => (one as HTMLInputElement).name === id);
}

/** Returns the answer that the inputs show: a text, a number or a list of texts; null if there is none. */
function answerOf(question: Question): AnswerChange {
  const inputs = inputsOf(question);
  const chosen = inputs.filter(({ checked }) => checked).map(({ value }) => value);
  if (question.kind === "choices") return chosen;
  if (question.kind === "choice") return chosen[0] ?? null;
  if (question.kind === "number") return Number.isFinite(inputs[0]!.valueAsNumber) ? inputs[0]!.valueAsNumber : null;
  return inputs[0]!.value;
}

/** Shows an answer, also one of another device, but not in the field in which the learner is typing. */
function showAnswer(question: Question, answer: AnswerChange | undefined): void {
  for (const field of inputsOf(question)) {
    if (field.type === "radio") field.checked = field.value === answer;
    else if (field.type === "checkbox") field.checked = Array.isArray(answer) && answer.includes(field.value);
    else if (field !== document.activeElement) field.value = answer === undefined ? "" : String(answer ?? "");
  }
}

/** Shows the attempt as it is now; called for each of its events. */
function show(): void {
  const { answers, ended, paused, session } = attempt;
  if (session || attempt.pending) {
    for (const question of QUESTIONS) showAnswer(question, Object.hasOwn(answers, question.id) ? answers[question.id] : undefined);
  }
  for (const field of form.elements) (field as HTMLInputElement).disabled = ended || paused;
  handIn.disabled = ended || paused || !session;
  const [text, kind] = status();
  Object.assign(find("status"), { textContent: text, className: kind });
  find("result").textContent = ended && session ? result() : "";
  showTime();
}

/** Returns what became of the answers: `saved` only if the service has acknowledged every one. */
function status(): [string, "saved" | "unsaved"] {
  const { ended, paused, problem, session, pending, stored } = attempt;
  if (ended && session) return [session.status === "completed" ? "Handed in" : "The time is over", "saved"];
  if (attempt.storeFailed && pending) return ["Not saved yet, and this device cannot store it: keep this page open", "unsaved"];
  if (Object.keys(attempt.refused).length > 0) return ["An answer was not accepted", "unsaved"];
  if (paused && pending) return [stored ? "Paused: answers are kept on this device" : "Paused", "unsaved"];
  if (paused) return ["Paused", "saved"];
  if (problem === "ATTEMPTS_EXHAUSTED") return ["No further attempt is allowed", "unsaved"];
  if (problem && !session) return [stored ? "Offline: answers are kept on this device" : "Offline", "unsaved"];
  if (!session) return ["Opening …", "unsaved"];
  if (pending && !problem) return ["Saving …", "unsaved"];
  if (pending) return [stored ? "Not saved yet: kept on this device until it is online again" : "Not saved yet", "unsaved"];
  return ["Saved", "saved"];
}

function result(): string {
  const lost = QUESTIONS.filter(({ id }) => id in attempt.lost).map(({ text }) => text);
  const saved = `${Object.keys(attempt.session!.answers).length} of ${QUESTIONS.length} questions are answered.`;
  return lost.length > 0 ? `${saved} These answers came too late: ${lost.join(" ")}` : saved;
}

function showTime(): void {
  const seconds = attempt.secondsLeft();
  const known = attempt.session && !attempt.ended && Number.isFinite(seconds);
  find("time").textContent = known ? `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}` : "";}
