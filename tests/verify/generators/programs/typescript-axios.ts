/** OpenAPI Generator's typescript-axios: node typescript-axios.js URL. */
import { isAxiosError, type AxiosResponse } from "axios";
import { Configuration, EventsApi, HealthApi, OrdersApi, SessionsApi } from "./client";
import { live, type Reply } from "./life";

async function reply<Body>(call: Promise<AxiosResponse<Body>>): Promise<Reply<Body>> {
  try {
    const { status, data } = await call;
    return { status, body: data };
  } catch (error) {
    if (!isAxiosError(error) || !error.response) throw error;
    return { status: error.response.status, error: error.response.data };
  }
}

void live((url) => {
  const configuration = new Configuration({ basePath: url });
  const [health, sessions] = [new HealthApi(configuration), new SessionsApi(configuration)];
  const [orders, events] = [new OrdersApi(configuration), new EventsApi(configuration)];
  return {
    health: async () => (await health.getHealth()).data.status,
    start: (user_id, quiz_id, { key, resume, seconds }) =>
      reply(
        sessions.startSession(
          { user_id, quiz_id, time_limit_seconds: seconds ?? null, if_active: resume ? "resume" : null },
          key,
        ),
      ),
    save: (id, question_id, answer, version) =>
      reply(sessions.updateProgress(id, { question_id, answer, version: version ?? null })),
    annotate: (id, question_id, answer, annotation) =>
      reply(sessions.updateProgress(id, { question_id, answer, annotation })),
    saveMany: (id, answers) => reply(sessions.saveAnswers(id, { answers })),
    read: (id) => reply(sessions.getSession(id)),
    list: (user, quiz) => reply(sessions.listSessions(user, quiz)),
    complete: (id, answers) => reply(sessions.completeSession(id, undefined, undefined, undefined, answers && { answers })),
    pause: (id, key, reason) => reply(orders.pauseSession(id, key, undefined, undefined, { reason })),
    extend: (id, key, extra_seconds) => reply(orders.changeDeadline(id, { extra_seconds }, key)),
    resumeAll: (quiz_id, key) => reply(orders.resumeSessions(key, { quiz_id })),
    reopen: (id, key, time_limit_seconds, reason) =>
      reply(orders.reopenSession(id, key, { time_limit_seconds, reason })),
    history: (id) => reply(sessions.listSessionEvents(id)),
    feed: (quiz, wait) => reply(events.listEvents(undefined, undefined, quiz, undefined, wait)),
  };
});
