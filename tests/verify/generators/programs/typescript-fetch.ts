/** OpenAPI Generator's typescript-fetch: node typescript-fetch.js URL. */
import {
  Configuration, EventsApi, HealthApi, IfActive, OrdersApi, ResponseError, SessionsApi, type Session,
} from "./client";
import { live, type Reply, type State } from "./life";

interface Raw<Body> {
  raw: Response;
  value(): Promise<Body>;
}

async function reply<Body, Shown>(call: Promise<Raw<Body>>, show: (body: Body) => Shown): Promise<Reply<Shown>> {
  try {
    const answered = await call;
    return { status: answered.raw.status, body: show(await answered.value()) };
  } catch (error) {
    if (!(error instanceof ResponseError)) throw error;
    return { status: error.response.status, error: await error.response.json() };
  }
}

/** The properties of this client are in camel case; its times are dates. */
const shown = (session: Session): State => ({
  ...session,
  quiz_id: session.quizId,
  current_question: session.currentQuestion,
  expires_at: session.expiresAt?.toISOString() ?? null,
  ended_by: session.endedBy,
});

void live((url) => {
  const configuration = new Configuration({ basePath: url });
  const [health, sessions] = [new HealthApi(configuration), new SessionsApi(configuration)];
  const [orders, events] = [new OrdersApi(configuration), new EventsApi(configuration)];
  return {
    health: async () => (await health.getHealth()).status,
    start(userId, quizId, { key, resume, seconds }) {
      const startSession = { userId, quizId, timeLimitSeconds: seconds ?? null, ifActive: resume ? IfActive.Resume : null };
      return reply(sessions.startSessionRaw({ startSession, ...(key && { idempotencyKey: key }) }), shown);
    },
    save: (id, questionId, answer, version) =>
      reply(sessions.updateProgressRaw({ id, saveAnswer: { questionId, answer, version: version ?? null } }), shown),
    annotate: (id, questionId, answer, annotation) =>
      reply(sessions.updateProgressRaw({ id, saveAnswer: { questionId, answer, annotation } }), shown),
    saveMany: (id, answers) => reply(sessions.saveAnswersRaw({ id, saveAnswers: { answers } }), shown),
    read: (id) => reply(sessions.getSessionRaw({ id }), shown),
    list: (userId, quizId) =>
      reply(sessions.listSessionsRaw({ userId, quizId }), ({ items }) => ({
        items: items.map((item) => ({ id: item.id, quiz_id: item.quizId })),
      })),
    complete: (id, answers) =>
      reply(sessions.completeSessionRaw({ id, ...(answers && { completeSession: { answers } }) }), shown),
    pause: (id, idempotencyKey, reason) =>
      reply(orders.pauseSessionRaw({ id, idempotencyKey, pauseSession: { reason } }), shown),
    extend: (id, idempotencyKey, extraSeconds) =>
      reply(orders.changeDeadlineRaw({ id, idempotencyKey, changeDeadline: { extraSeconds } }), shown),
    resumeAll: (quizId, idempotencyKey) =>
      reply(orders.resumeSessionsRaw({ idempotencyKey, resumeSessions: { quizId } }), (report) => report),
    reopen: (id, idempotencyKey, timeLimitSeconds, reason) =>
      reply(orders.reopenSessionRaw({ id, idempotencyKey, reopenSession: { timeLimitSeconds, reason } }), shown),
    history: (id) => reply(sessions.listSessionEventsRaw({ id }), (page) => page),
    feed: (quizId, wait) =>
      reply(events.listEventsRaw({ quizId, wait }), ({ items }) => ({
        items: items.map(({ type, sessionId }) => ({ type, session_id: sessionId })),
      })),
  };
});
