/** Carries out the steps of properties.py: node anything.js URL STEPS. Prints each promise that was broken. */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";

import { Attempt, type AnswerChange } from "session-service-client";

import { ARGUMENTS, CLIENT, Database, Memory, newName, newUser, NOWHERE, QUIZ, script, state, URL } from "./harness.js";
import { Tab, withLocks } from "./tabs.js";

/** `tab` is one of the device's open tabs; without it the device has one program, whose store no other one uses. */
type Place = { device: number; tab?: number };
type Step =
  | ({ do: "answer"; question: string; answer: AnswerChange } & Place)
  | ({ do: "open" | "flush" | "complete" | "crash" | "online" | "offline" | "full" | "room" } & Place)
  | ({ do: "tab" | "close" | "sleep" } & Place)
  | { do: "clock"; seconds: number }
  | { do: "network"; replies: string[] }
  | { do: "backup" }
  | { do: "restore"; fence: boolean };

const [devices, file] = [Number(process.argv[3]), ARGUMENTS[0]!];
const steps = JSON.parse(readFileSync(file, "utf8")) as Step[];
const user = newUser();
const hasTabs = steps.some((step) => "tab" in step);
const TAKEOVER = 0.15; // seconds
const MAX_TABS = 3;

/** A device: its store, its network, and the programs on it. */
class Device {
  private name = newName();
  private memory = new Memory();
  private client = CLIENT;
  programs: { tab: Tab; attempt: Attempt }[] = [];

  constructor() {
    this.start();
  }

  start(): void {
    const tab = new Tab();
    const store = hasTabs ? new Database(this.memory) : this.memory;
    const attempt = tab.run(() => new Attempt(this.client, store, this.name, undefined, { takeover: TAKEOVER }));
    this.programs.push({ tab, attempt });
  }

  connect(client: typeof CLIENT): void {
    this.client = client;
    for (const { attempt } of this.programs) attempt.client = client;
  }

  fill(full: boolean): void {
    this.memory.full = full;
  }

  get attempts(): Attempt[] {
    return this.programs.map(({ attempt }) => attempt);
  }

  /** Ends a program; another one is started if it was the last. */
  end(program: { attempt: Attempt }): void {
    this.programs = this.programs.filter((other) => other !== program);
    if (this.programs.length === 0) this.start();
  }
}

if (hasTabs) withLocks();
const real = Date.now;
const all = [...Array(devices)].map(() => new Device());
// The last answer to each question by device, and all that any device gave.
const typed: Map<string, AnswerChange>[] = all.map(() => new Map());
let backup: string | null = null;

async function carryOut(step: Step): Promise<void> {
  switch (step.do) {
    case "network":
      return script(step.replies);
    case "clock":
      // A date is set by hand: by then the tabs have each other's messages.
      if (hasTabs) await sleep(20);
      Date.now = () => real() + step.seconds * 1000;
      return;
    case "backup": {
      const id = all.flatMap(({ attempts }) => attempts).find(({ session }) => session)?.session!.id;
      if (id) await control("backup", { id });
      backup = id ?? null;
      return;
    }
    case "restore":
      // An ended attempt keeps nothing on the device.
      if (!backup || all.some(({ attempts }) => attempts.some(({ ended }) => ended))) return;
      // The network's faults are for the attempts, not for this program.
      await script([]);
      if (await running(backup)) await control("restore", { id: backup, fence: step.fence });
      return;
  }
  const device = all[step.device]!;
  const program = device.programs[(step.tab ?? 0) % device.programs.length]!;
  const { tab, attempt } = program;
  // A tab that was suspended runs before it hears of its lock and of the other tabs.
  if (tab.isSuspended) setTimeout(() => tab.resume(), 10);
  switch (step.do) {
    case "answer":
      typed[step.device]!.set(step.question, step.answer);
      return tab.run(() => attempt.answer(step.question, step.answer));
    case "open":
      return void (await tab.run(() => attempt.open(user, QUIZ)));
    case "flush":
      return void (await tab.run(() => attempt.flush()));
    case "complete":
      return void (await tab.run(() => attempt.complete()));
    case "crash":
      // What is in memory only, as the attempt says, is lost with the process.
      return attempt.storeFailed ? undefined : device.end(program);
    case "tab":
      return device.programs.length < MAX_TABS ? device.start() : undefined;
    case "close":
      if (attempt.storeFailed) return;
      await tab.run(() => attempt.close());
      return device.end(program);
    case "sleep":
      tab.suspend();
      return void (await sleep(TAKEOVER * 1500));
    case "online":
    case "offline":
      return device.connect(step.do === "online" ? CLIENT : NOWHERE);
    default:
      return device.fill(step.do === "full");
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
  for (const device of all) {
    device.connect(CLIENT);
    device.fill(false);
    for (const { tab } of device.programs) tab.resume();
  }
  const attempts = all.flatMap((device) => device.attempts);
  for (let round = 0; round < 2; round++) {
    let unsettled = attempts;
    for (let tries = 0; unsettled.length > 0; tries++) {
      if (tries > 30) throw new Error(`still ${unsettled.map(({ problem }) => problem).join()}`);
      const waiting: Attempt[] = [];
      for (const attempt of unsettled) if ((await attempt.open(user, QUIZ)) || (await attempt.flush())) waiting.push(attempt);
      unsettled = waiting;
      if (hasTabs) await sleep(10);
    }
  }
}

/** Returns whether the device says that this answer is not saved. */
const isReported = ({ refused, lost, unsaved }: Attempt, question: string, answer: AnswerChange): boolean =>
  [refused, lost, unsaved].some((told) => Object.hasOwn(told, question) && isDeepStrictEqual(told[question], answer));

for (const step of steps) await carryOut(step);
await settle();
const [, answers] = await state(all[0]!.attempts[0]!);
for (const question of new Set(typed.flatMap((given) => [...given.keys()]))) {
  const stored = Object.hasOwn(answers, question) ? answers[question] : null;
  const last = typed.map((given) => given.get(question));
  const kept = last.some((answer) => answer !== undefined && isDeepStrictEqual(answer, stored));
  for (const [device, answer] of last.entries()) {
    if (answer === undefined || all[device]!.attempts.some((attempt) => isReported(attempt, question, answer)) || kept) continue;
    console.log(`device ${device} gave ${question}: ${JSON.stringify(answer)}; stored: ${JSON.stringify(stored)}`);
  }
}
process.exit(0);
