// The application: middleware, request id and log line, routes.
import { randomUUID } from "node:crypto";

import cors from "cors";
import express from "express";
import helmet from "helmet";

import { answerError, ServiceError } from "./errors.js";
import * as schemas from "./schemas.js";
import * as sessions from "./sessions.js";
import { pool, redis } from "./stores.js";

export const app = express();

// Express's own ETag is a hash of the body, not the contract's version; both services here are without any.
app.disable("etag");
app.use(identify);
app.use(helmet());
app.use(cors());
app.use(express.json({ limit: "256kb" }));

app.post("/api/sessions/start", async (req, res) => {
  const session = await sessions.start(parse(schemas.startSession, req.body, "body"));
  res.status(201).location(`/api/sessions/${session.id}`).json(session);
});

app.get("/api/sessions", async (req, res) => {
  res.json(await sessions.find(parse(schemas.filter, req.query, "query")));
});

app.get("/api/sessions/:id", async (req, res) => {
  res.json(await sessions.read(pathId(req)));
});

app.put("/api/sessions/:id/progress", async (req, res) => {
  const { question_id, answer, version } = parse(schemas.saveAnswer, req.body, "body");
  const wanted = { changes: { [question_id]: answer }, currentQuestion: question_id, version };
  res.json(await sessions.write(pathId(req), wanted));
});

app.patch("/api/sessions/:id/progress", async (req, res) => {
  const { answers, current_question, version } = parse(schemas.saveAnswers, req.body, "body");
  const wanted = { changes: answers, currentQuestion: current_question, version };
  res.json(await sessions.write(pathId(req), wanted));
});

app.post("/api/sessions/:id/complete", async (req, res) => {
  const { answers, version } = parse(schemas.completeSession, req.body ?? {}, "body");
  res.json(await sessions.write(pathId(req), { changes: answers, version, completes: true }));
});

app.get("/health", async (req, res) => {
  const state = (promise) => promise.then(() => "up", () => "down");
  const [postgres, cache] = await Promise.all([state(pool.query("select 1")), state(redis.ping())]);
  res.status(postgres === "up" ? 200 : 503).json({
    status: postgres === "down" ? "unhealthy" : cache === "down" ? "degraded" : "healthy",
    service: "session-service",
    checks: { postgres, redis: cache },
    timestamp: new Date(),
    requestId: req.id,
  });
});

app.use(() => {
  throw new ServiceError("ROUTE_NOT_FOUND");
});
app.use(answerError);

/** Give the request its id, and write its line to the log. */
function identify(req, res, next) {
  const started = performance.now();
  const given = req.get("x-request-id") ?? "";
  req.id = /^[A-Za-z0-9._-]{1,128}$/.test(given) ? given : randomUUID();
  res.set("x-request-id", req.id);
  res.on("finish", () => {
    const ms = (performance.now() - started).toFixed(1);
    console.log(`[express-peer] ${req.id} ${req.method} ${req.originalUrl} ${res.statusCode} ${ms}ms`);
  });
  next();
}

function pathId(req) {
  return parse(schemas.sessionId, req.params.id, "path.id");
}

/** Return the value as the schema has it, or throw the error that says where it does not fit. */
function parse(schema, value, place) {
  const { data, error } = schema.safeParse(value);
  if (!error) return data;
  const details = error.issues.map(({ path, message }) => ({ path: [place, ...path].join("."), message }));
  throw new ServiceError("VALIDATION_ERROR", { details });
}
