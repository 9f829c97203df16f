/** @hey-api/openapi-ts: node openapi-ts.js URL. */
import {
  changeDeadline, completeSession, getHealth, getSession, listEvents, listSessionEvents, listSessions, pauseSession, reopenSession,
  resumeSessions, saveAnswers, startSession, updateProgress,
} from "./client";
import { client } from "./client/client.gen";
import { live, type Refusal, type Reply } from "./life";

async function reply<Body>(
  call: Promise<{ data: Body | undefined; error: unknown; response?: Response | undefined }>,
): Promise<Reply<Exclude<Body, void>>> {
  const { data, error, response } = await call;
  return { status: response!.status, body: data as Exclude<Body, void> | undefined, error: error as Refusal };
}

void live((url) => {
  client.setConfig({ baseUrl: url });
  return {
    health: async () => (await getHealth({ throwOnError: true })).data.status,
    start: (user_id, quiz_id, { key, resume, seconds }) =>
      reply(
        startSession({
          body: { user_id, quiz_id, time_limit_seconds: seconds ?? null, if_active: resume ? "resume" : null },
          ...(key && { headers: { "Idempotency-Key": key } }),
        }),
      ),
    save: (id, question_id, answer, version) =>
      reply(updateProgress({ path: { id }, body: { question_id, answer, version: version ?? null } })),
    annotate: (id, question_id, answer, annotation) =>
      reply(updateProgress({ path: { id }, body: { question_id, answer, annotation } })),
    saveMany: (id, answers) => reply(saveAnswers({ path: { id }, body: { answers } })),
    read: (id) => reply(getSession({ path: { id } })),
    list: (user_id, quiz_id) => reply(listSessions({ query: { user_id, quiz_id } })),
    complete: (id, answers) => reply(completeSession({ path: { id }, ...(answers && { body: { answers } }) })),
    pause: (id, key, reason) => reply(pauseSession({ path: { id }, headers: { "Idempotency-Key": key }, body: { reason } })),
    extend: (id, key, extra_seconds) =>
      reply(changeDeadline({ path: { id }, headers: { "Idempotency-Key": key }, body: { extra_seconds } })),
    resumeAll: (quiz_id, key) => reply(resumeSessions({ headers: { "Idempotency-Key": key }, body: { quiz_id } })),
    reopen: (id, key, time_limit_seconds, reason) =>
      reply(reopenSession({ path: { id }, headers: { "Idempotency-Key": key }, body: { time_limit_seconds, reason } })),
    history: (id) => reply(listSessionEvents({ path: { id } })),
    feed: (quiz_id, wait) => reply(listEvents({ query: { quiz_id, wait } })),
  };
});
