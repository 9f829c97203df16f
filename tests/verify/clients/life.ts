/** The life of a session through the generated TypeScript client: node life.js URL. */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import {
  createClient,
  type Answer,
  type ExternalId,
  type JsonValue,
  type Session,
  type SessionConflictError,
  type SessionEndedError,
  type SessionStatus,
  type StartSession,
  type Timestamp,
} from "session-service-client";

const client = createClient({ baseUrl: process.argv[2]! });
const user = `typescript-${crypto.randomUUID()}`;
const progress = "/api/sessions/{id}/progress";
const quiz = "9f1c2b3a-0d4e-4f5a-8b6c-7d8e9f0a1b2c";
const drawing: JsonValue = { strokes: [[0.5, null, { "": true }]], ["__proto__"]: "", "\u00e4 \u{1f600}": [] };

/** Compiles only where the type is exactly the one expected. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : never;
function typed<_ extends true>(): void {}

async function start(fields: Partial<StartSession> = {}): Promise<Session> {
  const { data, response } = await client.POST("/api/sessions/start", {
    body: { user_id: user, quiz_id: quiz, ...fields },
  });
  assert.equal(response.status, 201);
  return data!;
}

async function health(): Promise<void> {
  const { data } = await client.GET("/health");
  assert.equal(data?.status, "healthy");
}

async function life(): Promise<Session> {
  const started = await start();
  typed<Same<Session["status"], SessionStatus>>();
  typed<Same<Session["quiz_id"], ExternalId>>();
  typed<Same<ExternalId, number | string>>();
  typed<Same<Session["expires_at"], Timestamp | null>>();
  typed<Same<Session["answers"][string], Answer>>();
  assert.equal(new Date(started.expires_at!).getTime() - new Date(started.started_at).getTime(), 1_800_000);
  const resumed = await client.POST("/api/sessions/start", {
    body: { user_id: user, quiz_id: quiz, if_active: "resume" },
  });
  assert.deepEqual([resumed.response.status, resumed.data], [200, started]);

  const path = { id: started.id };
  const saved = await client.PUT(progress, {
    params: { path, header: { "Idempotency-Key": "1", "Client-Id": "tab-1" } },
    body: { question_id: "q-\u00fc", answer: drawing, annotation: { review: true } },
  });
  assert.deepEqual([saved.data?.answers, saved.data?.version], [{ "q-\u00fc": drawing }, 2]);
  assert.deepEqual([saved.data?.annotations, saved.data?.current_question], [{ "q-\u00fc": { review: true } }, "q-\u00fc"]);
  const brief = await client.PATCH(progress, {
    params: { path, header: { Prefer: "return=minimal" } },
    body: { answers: { "q-\u00fc": null, "4": 1.5, "5": "", "6": false }, annotations: { "4": 12 }, current_question: "007" },
  });
  assert.ok(brief.response.headers.get("session-expires-at")! > brief.response.headers.get("session-now")!);
  assert.deepEqual([brief.response.status, brief.response.headers.get("etag")], [204, '"3"']);
  const unchanged = await client.GET("/api/sessions/{id}", {
    params: { path, header: { "If-None-Match": '"3"' } },
  });
  assert.equal(unchanged.response.status, 304);
  const read = await client.GET("/api/sessions/{id}", { params: { path } });
  assert.deepEqual(read.data?.answers, { "4": 1.5, "5": "", "6": false });

  const completed = await client.POST("/api/sessions/{id}/complete", {
    params: { path },
    body: { answers: { "5": ["Lima", null] }, version: 3 },
  });
  assert.equal(completed.data?.status, "completed");
  const late = await client.PUT(progress, { params: { path }, body: { question_id: 3, answer: "Rome" } });
  assert.equal(late.error?.errorCode, "SESSION_COMPLETED");
  assert.deepEqual(late.error.session, completed.data);
  return completed.data;
}

async function history(session: Session): Promise<void> {
  const path = { id: session.id };
  const first = await client.GET("/api/sessions/{id}/events", { params: { path, query: { limit: 2 } } });
  assert.deepEqual([first.data?.next_after, first.data?.version, first.data?.first_version], [2, session.version, 1]);
  const [started, saved] = first.data!.items;
  assert.deepEqual([started?.type, started?.data.quiz_id], ["session.started", quiz]);
  assert.deepEqual([saved?.client_id, saved?.data.answers], ["tab-1", { "q-\u00fc": drawing }]);
  const last = await client.GET("/api/sessions/{id}/events", { params: { path, query: { after: 2 } } });
  assert.deepEqual(last.data?.items.map((line) => line.type), ["session.saved", "session.completed"]);
}

async function feed(session: Session): Promise<void> {
  const types = ["session.started", "session.completed"];
  const found: (string | number)[][] = [];
  let after: string | undefined;
  while (found.length < 2) {
    const query = { types, quiz_id: quiz, wait: 1, ...(after === undefined ? {} : { after }) };
    const page = await client.GET("/api/events", { params: { query } });
    const own = page.data!.items.filter((event) => event.session_id === session.id);
    found.push(...own.map((event) => [event.type, event.version]));
    after = page.data!.next;
  }
  assert.deepEqual(found, [["session.started", 1], ["session.completed", session.version]]);
  const gone = await client.GET("/api/events", { params: { query: { after: "AAAA" } } });
  assert.equal(gone.response.status, 410);
}

async function withoutEnd(): Promise<void> {
  const started = await start({ user_id: `${user}-practice`, time_limit_seconds: 0 });
  assert.deepEqual([started.expires_at, started.closes_at], [null, null]);
  const params = { path: { id: started.id } };
  const moved = await client.PATCH(progress, { params, body: { current_question: "7" } });
  assert.equal(moved.data?.current_question, 7);
}

async function orders(): Promise<void> {
  const room = `${user}-room`;
  const started = await start({ user_id: `${user}-ordered`, quiz_id: room });
  const path = { id: started.id };
  const key = (name: string) => ({ path, header: { "Idempotency-Key": name } });
  const paused = await client.POST("/api/sessions/{id}/pause", {
    params: key("pause"),
    body: { reason: "Fire alarm" },
  });
  assert.deepEqual([paused.data?.status, paused.data?.closes_at], ["paused", null]);
  const refused = await client.PUT(progress, { params: { path }, body: { question_id: 1, answer: "x" } });
  assert.equal(refused.response.status, 423);
  const more = { extra_seconds: 600, reason: "The projector failed" };
  const extended = await client.PUT("/api/sessions/{id}/deadline", { params: key("more"), body: more });
  assert.equal(Date.parse(extended.data!.expires_at!) - Date.parse(started.expires_at!), 600_000);
  const report = await client.POST("/api/sessions/resume", {
    params: { header: { "Idempotency-Key": "on" } },
    body: { quiz_id: room },
  });
  const { changed, unchanged, unfinished } = report.data!;
  assert.deepEqual([changed, unchanged, unfinished], [1, [], false]);
  const end = { expires_at: new Date("2000-01-01").toISOString() };
  const ended = await client.PUT("/api/sessions/{id}/deadline", { params: { path }, body: end });
  assert.deepEqual([ended.data?.status, ended.data?.ended_by], ["expired", "proctor"]);
  const again = await client.POST("/api/sessions/{id}/reopen", {
    params: key("again"),
    body: { time_limit_seconds: 60, reason: "A mistake" },
  });
  assert.deepEqual([again.data?.status, again.data?.ended_by], ["in_progress", null]);
}

async function attempts(): Promise<void> {
  const body = { user_id: `${user}-exam`, quiz_id: "exam", max_attempts: 1, metadata: { course: "B12" } };
  const started = await start({ ...body, grace_seconds: 10, on_expiry: "complete" });
  assert.deepEqual([started.attempt, started.metadata], [1, { course: "B12" }]);
  const refused = await client.POST("/api/sessions/start", { body });
  assert.deepEqual([refused.response.status, refused.error?.errorCode], [403, "ATTEMPTS_EXHAUSTED"]);
}

async function conflict(): Promise<void> {
  const started = await start({ user_id: `${user}-conflict`, quiz_id: 8 });
  const params = { path: { id: started.id } };
  await client.PUT(progress, { params, body: { question_id: 1, answer: "theirs" } });
  const mine = { question_id: 2, answer: "mine" };
  const refused = await client.PUT(progress, { params, body: { ...mine, version: started.version } });
  assert.equal(refused.error?.errorCode, "SESSION_CONFLICT");
  typed<Same<typeof refused.error, SessionConflictError>>();
  const { currentVersion } = refused.error;
  const landed = await client.PUT(progress, { params, body: { ...mine, version: currentVersion } });
  assert.deepEqual(landed.data?.answers, { "1": "theirs", "2": "mine" });
}

async function errors(): Promise<void> {
  const wrong = await client.POST("/api/sessions/start", { body: { user_id: "", quiz_id: 0 } });
  assert.equal(wrong.error?.errorCode, "VALIDATION_ERROR");
  assert.deepEqual(wrong.error.details.map((detail) => detail.path).sort(), ["body.quiz_id", "body.user_id"]);
  const missing = await client.GET("/api/sessions/{id}", { params: { path: { id: crypto.randomUUID() } } });
  assert.equal(missing.error?.errorCode, "SESSION_NOT_FOUND");
}

async function expiry(): Promise<Session> {
  const started = await start({ time_limit_seconds: 1 });
  const params = { path: { id: started.id } };
  await client.PUT(progress, { params, body: { question_id: 1, answer: "in time" } });
  await sleep(1100);
  const late = await client.PUT(progress, { params, body: { question_id: 2, answer: "late" } });
  const read = await client.GET("/api/sessions/{id}", { params });
  for (const error of [late.error, read.error]) {
    assert.equal(error?.errorCode, "SESSION_EXPIRED");
    typed<Same<typeof error, SessionEndedError>>();
    assert.deepEqual(error.session.answers, { "1": "in time" });
  }
  return started;
}

async function pages(newestFirst: string[]): Promise<void> {
  const ids: string[] = [];
  let cursor: string | null = null;
  do {
    const query: { user_id: string; quiz_id: ExternalId; limit: number; cursor?: string } = {
      user_id: user,
      quiz_id: quiz,
      limit: 1,
      ...(cursor && { cursor }),
    };
    const { data } = await client.GET("/api/sessions", { params: { query } });
    ids.push(...data!.items.map((item) => item.id));
    cursor = data!.next_cursor;
  } while (cursor);
  assert.deepEqual(ids, newestFirst);
}

await health();
const completed = await life();
await history(completed);
await feed(completed);
await withoutEnd();
await orders();
await attempts();
await conflict();
await errors();
const expired = await expiry();
await pages([expired.id, completed.id]);
