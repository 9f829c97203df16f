/** The life of a session, the same for each TypeScript client. A module for each tool makes its client into `Calls`. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

/** Any JSON value but `null`. */
export type Answer = NonNullable<unknown>;

/** What each tool's type of a session has to offer. */
export interface State {
  id: string;
  status: string;
  version: number;
  quiz_id?: unknown;
  current_question?: unknown;
  answers: { [question: string]: unknown };
  annotations: { [question: string]: unknown };
  expires_at: string | null;
  ended_by: string | null;
}

/** What each tool's type of an error about a session has to offer. */
export interface Refusal {
  errorCode: string;
  session?: State;
}

export interface Reply<Body> {
  status: number;
  body?: Body | undefined;
  error?: Refusal | undefined;
}

export interface Calls {
  health(): Promise<string>;
  start(user: string, quiz: string, more: { key?: string; resume?: boolean; seconds?: number }): Promise<Reply<State>>;
  save(id: string, question: number | string, answer: Answer | null, version?: number): Promise<Reply<State>>;
  annotate(id: string, question: number | string, answer: Answer, annotation: Answer): Promise<Reply<State>>;
  saveMany(id: string, answers: { [question: string]: Answer | null }): Promise<Reply<State>>;
  read(id: string): Promise<Reply<State>>;
  list(user: string, quiz: string): Promise<Reply<{ items: { id: string; quiz_id?: unknown }[] }>>;
  complete(id: string, answers?: { [question: string]: Answer }): Promise<Reply<State>>;
  pause(id: string, key: string, reason: string): Promise<Reply<State>>;
  extend(id: string, key: string, extra_seconds: number): Promise<Reply<State>>;
  resumeAll(quiz: string, key: string): Promise<Reply<{ changed: number; unfinished: boolean }>>;
  reopen(id: string, key: string, time_limit_seconds: number, reason: string): Promise<Reply<State>>;
  history(id: string): Promise<Reply<{ items: { type: string }[] }>>;
  feed(quiz: string, wait: number): Promise<Reply<{ items: { type: string; session_id: string }[] }>>;
}

/** Lives through a session; a program's URL is its first argument. */
export async function live(connect: (url: string) => Calls): Promise<void> {
  const client = connect(process.argv[2]!);
  const [user, quiz] = [`typescript-${randomUUID()}`, randomUUID()];
  const drawing = { row: 2, points: [0.5, 1, null], labels: { "": [] } };
  assert.equal(await client.health(), "healthy");

  const started = await client.start(user, quiz, { key: randomUUID(), seconds: 0 });
  assert.equal(started.status, 201, JSON.stringify(started));
  const { id, quiz_id, current_question, expires_at } = started.body!;
  assert.deepEqual([quiz_id, current_question, expires_at], [quiz, 0, null]);
  const resumed = await client.start(user, quiz, { resume: true });
  assert.deepEqual([resumed.status, resumed.body!.id], [200, id]);

  const drawn = await client.annotate(id, "q1_1", drawing, { review: true });
  assert.deepEqual([drawn.body!.answers, drawn.body!.annotations], [{ q1_1: drawing }, { q1_1: { review: true } }]);
  const number = await client.save(id, 3, 2.5);
  assert.deepEqual([number.body!.answers["3"], number.body!.current_question], [2.5, 3]);
  const cleared = await client.save(id, 3, null);
  assert.deepEqual([cleared.status, cleared.body!.answers], [200, { q1_1: drawing }]);
  const many = await client.saveMany(id, { q1_1: null, q9: ["a", "c"], q10: false });
  assert.deepEqual([many.status, many.body!.answers], [200, { q9: ["a", "c"], q10: false }]);

  const conflict = await client.save(id, 5, "mine", 1);
  assert.deepEqual([conflict.status, conflict.error!.errorCode], [409, "SESSION_CONFLICT"]);
  assert.deepEqual(conflict.error!.session!.answers, many.body!.answers);
  const read = await client.read(id);
  assert.deepEqual(read.body, many.body);
  const missing = await client.read(randomUUID());
  assert.deepEqual([missing.status, missing.error!.errorCode], [404, "SESSION_NOT_FOUND"]);
  const page = await client.list(user, quiz);
  assert.deepEqual(page.body!.items.map((item) => [item.id, item.quiz_id]), [[id, quiz]]);

  const completed = await client.complete(id, { "5": "" });
  assert.deepEqual([completed.body!.status, completed.body!.ended_by], ["completed", "learner"]);
  assert.equal((await client.complete(id)).body!.status, "completed");
  const late = await client.save(id, 5, "late");
  assert.deepEqual([late.status, late.error!.errorCode], [410, "SESSION_COMPLETED"]);
  assert.deepEqual(late.error!.session!.answers, { ...many.body!.answers, "5": "" });

  await teach(client, user);
  const reopened = await client.reopen(id, randomUUID(), 60, "a mistake");
  assert.deepEqual([reopened.body!.status, reopened.body!.ended_by], ["in_progress", null]);

  const short = await client.start(user, "7", { seconds: 1 });
  assert.equal(short.body!.quiz_id, 7);
  await sleep(1200);
  const expired = await client.read(short.body!.id);
  assert.deepEqual([expired.status, expired.error!.errorCode], [410, "SESSION_EXPIRED"]);
  assert.equal(expired.error!.session!.status, "expired");
}

/** Pauses, extends and resumes the session of a quiz as a teacher does, and reads the history and the feed. */
async function teach(client: Calls, user: string): Promise<void> {
  const room = randomUUID();
  const { id } = (await client.start(user, room, {})).body!;
  const paused = await client.pause(id, randomUUID(), "fire alarm");
  assert.deepEqual([paused.status, paused.body!.status], [200, "paused"]);
  const refused = await client.save(id, 1, "x");
  assert.deepEqual([refused.status, refused.error!.errorCode], [423, "SESSION_PAUSED"]);
  assert.equal(refused.error!.session!.version, paused.body!.version);
  const extended = await client.extend(id, randomUUID(), 600);
  assert.equal(Date.parse(extended.body!.expires_at!) - Date.parse(paused.body!.expires_at!), 600_000);
  const report = await client.resumeAll(room, randomUUID());
  assert.deepEqual([report.status, report.body!.changed, report.body!.unfinished], [200, 1, false]);
  const types = (await client.history(id)).body!.items.map((line) => line.type);
  assert.deepEqual(types, ["session.started", "session.paused", "session.deadline_changed", "session.resumed"]);
  let page = await client.feed(room, 4);
  while (page.body!.items.length === 0) page = await client.feed(room, 4);
  const { type, session_id } = page.body!.items[0]!;
  assert.deepEqual([type, session_id], ["session.started", id]);
}
