/** The life of a session through the TypeScript client of contract 1.2: node life_1_2.js URL. */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import {
  createClient,
  type Answer,
  type Session,
  type SessionConflictError,
  type SessionExpiredError,
  type SessionStatus,
  type Timestamp,
} from "session-service-client";

const client = createClient({ baseUrl: process.argv[2]! });
const user = `typescript-${crypto.randomUUID()}`;
const progress = "/api/sessions/{id}/progress";

/** Compiles only where the type is exactly the one expected. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : never;
function typed<_ extends true>(): void {}

async function start(fields: { quiz_id?: number; time_limit_seconds?: number } = {}): Promise<Session> {
  const { data, response } = await client.POST("/api/sessions/start", {
    body: { user_id: user, quiz_id: 7, ...fields },
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
  typed<Same<Session["expires_at"], Timestamp>>();
  typed<Same<Session["answers"][string], Answer>>();
  assert.equal(new Date(started.expires_at).getTime() - new Date(started.started_at).getTime(), 1_800_000);
  const resumed = await client.POST("/api/sessions/start", {
    body: { user_id: user, quiz_id: 7, if_active: "resume" },
  });
  assert.deepEqual([resumed.response.status, resumed.data], [200, started]);

  const path = { id: started.id };
  const saved = await client.PUT(progress, {
    params: { path, header: { "Idempotency-Key": "1" } },
    body: { question_id: 3, answer: "Paris" },
  });
  assert.deepEqual([saved.data?.answers, saved.data?.version], [{ "3": "Paris" }, 2]);
  const brief = await client.PATCH(progress, {
    params: { path, header: { Prefer: "return=minimal" } },
    body: { answers: { "3": null, "4": ["a", "c"] }, current_question: 4 },
  });
  assert.deepEqual([brief.response.status, brief.response.headers.get("etag")], [204, '"3"']);
  const unchanged = await client.GET("/api/sessions/{id}", {
    params: { path, header: { "If-None-Match": '"3"' } },
  });
  assert.equal(unchanged.response.status, 304);
  const read = await client.GET("/api/sessions/{id}", { params: { path } });
  assert.deepEqual(read.data?.answers, { "4": ["a", "c"] });

  const completed = await client.POST("/api/sessions/{id}/complete", {
    params: { path },
    body: { answers: { "5": "Lima" }, version: 3 },
  });
  assert.equal(completed.data?.status, "completed");
  const late = await client.PUT(progress, { params: { path }, body: { question_id: 3, answer: "Rome" } });
  assert.equal(late.error?.errorCode, "SESSION_COMPLETED");
  assert.deepEqual(late.error.session, completed.data);
  return completed.data;
}

async function conflict(): Promise<void> {
  const started = await start({ quiz_id: 8 });
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
    typed<Same<typeof error, SessionExpiredError>>();
    assert.deepEqual(error.session.answers, { "1": "in time" });
  }
  return started;
}

async function pages(newestFirst: string[]): Promise<void> {
  const ids: string[] = [];
  let cursor: string | null = null;
  do {
    const query: { user_id: string; quiz_id: number; limit: number; cursor?: string } = {
      user_id: user,
      quiz_id: 7,
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
await conflict();
await errors();
const expired = await expiry();
await pages([expired.id, completed.id]);
