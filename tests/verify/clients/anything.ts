/** Carries out the steps of test_property.py: node anything.js URL STEPS. Prints each promise that was broken. */
import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";

import { Attempt, type AnswerChange } from "session-service-client";

import { ARGUMENTS, CLIENT, Memory, newUser, NOWHERE, QUIZ, script, state, URL } from "./harness.js";

type Step =
  | { do: "answer"; device: number; question: string; answer: AnswerChange }
  | { do: "open" | "flush" | "complete" | "crash"; device: number }
  | { do: "online" | "offline" | "full" | "room"; device: number }
  | { do: "network"; replies: string[] }
  | { do: "backup" }
  | { do: "restore"; fence: boolean };

const [devices, file] = [Number(process.argv[3]), ARGUMENTS[0]!];
const steps = JSON.parse(readFileSync(file, "utf8")) as Step[];
const user = newUser();
const stores = [...Array(devices)].map(() => new Memory());
const made = (store: Memory): Attempt => new Attempt(CLIENT, store, "attempt");
const attempts = stores.map(made);
// The last answer to each question by device, and all that any device gave.
const typed: Map<string, AnswerChange>[] = stores.map(() => new Map());
let backup: string | null = null;

async function carryOut(step: Step): Promise<void> {
  switch (step.do) {
    case "network":
      return script(step.replies);
    case "backup": {
      const id = attempts.find(({ session }) => session)?.session!.id;
      if (id) await control("backup", { id });
      backup = id ?? null;
      return;
    }
    case "restore":
      // An ended attempt keeps nothing on the device.
      if (backup && !attempts.some(({ ended }) => ended) && (await running(backup))) {
        await control("restore", { id: backup, fence: step.fence });
      }
      return;
  }
  const { device } = step;
  const attempt = attempts[device]!;
  switch (step.do) {
    case "answer":
      await attempt.answer(step.question, step.answer);
      typed[device]!.set(step.question, step.answer);
      return;
    case "open":
      return void (await attempt.open(user, QUIZ));
    case "flush":
      return void (await attempt.flush());
    case "complete":
      return void (await attempt.complete());
    case "crash":
      // What is in memory only, as the attempt says, is lost with the process.
      if (!attempt.storeFailed) attempts[device] = made(stores[device]!);
      return;
    case "online":
    case "offline":
      return void (attempt.client = step.do === "online" ? CLIENT : NOWHERE);
    default:
      stores[device]!.full = step.do === "full";
  }
}

async function control(name: string, content: object): Promise<void> {
  const done = await fetch(`${URL}/${name}`, { method: "PUT", body: JSON.stringify(content) });
  await done.text();
}

const running = async (id: string): Promise<boolean> => {
  const { data } = await CLIENT.GET("/api/sessions/{id}", { params: { path: { id } } });
  return data?.status === "in_progress";
};

/** Lets every device send all that it has, on a network and with stores that work. */
async function settle(): Promise<void> {
  await script([]);
  for (let round = 0; round < 2; round++) {
    for (const [device, attempt] of attempts.entries()) {
      [attempt.client, stores[device]!.full] = [CLIENT, false];
      for (let tries = 0; (await attempt.open(user, QUIZ)) || (await attempt.flush()); tries++) {
        if (tries > 30) throw new Error(`still ${attempt.problem}`);
      }
    }
  }
}

/** Returns whether the device says that this answer is not saved. */
const isReported = ({ refused, lost, unsaved }: Attempt, question: string, answer: AnswerChange): boolean =>
  [refused, lost, unsaved].some((told) => Object.hasOwn(told, question) && isDeepStrictEqual(told[question], answer));

for (const step of steps) await carryOut(step);
await settle();
const [, answers] = await state(attempts[0]!);
for (const question of new Set(typed.flatMap((given) => [...given.keys()]))) {
  const stored = Object.hasOwn(answers, question) ? answers[question] : null;
  const last = typed.map((given) => given.get(question));
  const kept = last.some((answer) => answer !== undefined && isDeepStrictEqual(answer, stored));
  for (const [device, answer] of last.entries()) {
    if (answer === undefined || isReported(attempts[device]!, question, answer) || kept) continue;
    console.log(`device ${device} gave ${question}: ${JSON.stringify(answer)}; stored: ${JSON.stringify(stored)}`);
  }
}
process.exit(0);
