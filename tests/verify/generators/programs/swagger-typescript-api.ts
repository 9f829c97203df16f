/** swagger-typescript-api: node swagger-typescript-api.js URL. */
import { Api, IfActive, type HttpResponse } from "./client";
import { live, type Refusal, type Reply } from "./life";

async function reply<Body>(call: Promise<HttpResponse<Body>>): Promise<Reply<Body>> {
  try {
    const { status, data } = await call;
    return { status, body: data };
  } catch (thrown) {
    const { status, error } = thrown as HttpResponse<never, Refusal>;
    return { status, error };
  }
}

void live((url) => {
  // Without `format` this client reads no body: the replies are declared by `$ref`.
  const { api, health } = new Api({ baseUrl: url, baseApiParams: { format: "json" } });
  const keyed = (key: string) => ({ headers: { "Idempotency-Key": key } });
  return {
    health: async () => (await health.getHealth()).data.status,
    start: (user_id, quiz_id, { key, resume, seconds }) =>
      reply(
        api.startSession(
          { user_id, quiz_id, time_limit_seconds: seconds ?? null, if_active: resume ? IfActive.Resume : null },
          key ? { headers: { "Idempotency-Key": key } } : {},
        ),
      ),
    save: (id, question_id, answer, version) =>
      reply(api.updateProgress(id, { question_id, answer, version: version ?? null })),
    annotate: (id, question_id, answer, annotation) =>
      reply(api.updateProgress(id, { question_id, answer, annotation })),
    saveMany: (id, answers) => reply(api.saveAnswers(id, { answers })),
    read: (id) => reply(api.getSession(id)),
    list: (user_id, quiz_id) => reply(api.listSessions({ user_id, quiz_id })),
    complete: (id, answers) => reply(api.completeSession(id, answers && { answers })),
    pause: (id, key, reason) => reply(api.pauseSession(id, { reason }, keyed(key))),
    extend: (id, key, extra_seconds) => reply(api.changeDeadline(id, { extra_seconds }, keyed(key))),
    resumeAll: (quiz_id, key) => reply(api.resumeSessions({ quiz_id }, keyed(key))),
    reopen: (id, key, time_limit_seconds, reason) =>
      reply(api.reopenSession(id, { time_limit_seconds, reason }, keyed(key))),
    history: (id) => reply(api.listSessionEvents(id)),
    feed: (quiz_id, wait) => reply(api.listEvents({ quiz_id, wait })),
  };
});
