/** openapi-zod-client: node openapi-zod-client.js URL. */
import { isAxiosError } from "axios";
import { createApiClient } from "./client";
import { live, type Reply } from "./life";

void live((url) => {
  const api = createApiClient(url);
  // The client returns bodies alone.
  let status = 0;
  api.axios.interceptors.response.use((response) => {
    status = response.status;
    return response;
  });

  async function reply<Body>(call: Promise<Body>): Promise<Reply<Body>> {
    try {
      const body = await call;
      return { status, body };
    } catch (error) {
      if (!isAxiosError(error) || !error.response) throw error;
      return { status: error.response.status, error: error.response.data };
    }
  }

  return {
    health: async () => (await api.getHealth()).status,
    start: (user_id, quiz_id, { key, resume, seconds }) =>
      reply(
        api.startSession(
          { user_id, quiz_id, time_limit_seconds: seconds ?? null, if_active: resume ? "resume" : null },
          key ? { headers: { "Idempotency-Key": key } } : {},
        ),
      ),
    save: (id, question_id, answer, version) =>
      reply(api.updateProgress({ question_id, answer, version: version ?? null }, { params: { id } })),
    annotate: (id, question_id, answer, annotation) =>
      reply(api.updateProgress({ question_id, answer, annotation }, { params: { id } })),
    saveMany: (id, answers) => reply(api.saveAnswers({ answers }, { params: { id } })),
    read: (id) => reply(api.getSession({ params: { id } })),
    list: (user_id, quiz_id) => reply(api.listSessions({ queries: { user_id, quiz_id } })),
    complete: (id, answers) => reply(api.completeSession(answers ? { answers } : undefined, { params: { id } })),
    pause: (id, key, reason) =>
      reply(api.pauseSession({ reason }, { params: { id }, headers: { "Idempotency-Key": key } })),
    extend: (id, key, extra_seconds) =>
      reply(api.changeDeadline({ extra_seconds }, { params: { id }, headers: { "Idempotency-Key": key } })),
    resumeAll: (quiz_id, key) => reply(api.resumeSessions({ quiz_id }, { headers: { "Idempotency-Key": key } })),
    reopen: (id, key, time_limit_seconds, reason) =>
      reply(api.reopenSession({ time_limit_seconds, reason }, { params: { id }, headers: { "Idempotency-Key": key } })),
    history: (id) => reply(api.listSessionEvents({ params: { id } })),
    feed: (quiz_id, wait) => reply(api.listEvents({ queries: { quiz_id, wait } })),
  };
});
