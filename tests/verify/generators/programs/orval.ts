/** orval, with fetch: node orval.js URL. */
import {
  changeDeadline, completeSession, getHealth, getSession, listEvents, listSessionEvents, listSessions, pauseSession, reopenSession,
  resumeSessions, saveAnswers, startSession, updateProgress,
} from "./client";
import { live, type Refusal, type Reply } from "./life";

type Success<Result> = Extract<Result, { status: 200 | 201 }> extends { data: infer Body } ? Body : never;

async function reply<Result extends { status: number; data: unknown }>(
  call: Promise<Result>,
): Promise<Reply<Success<Result>>> {
  const { status, data } = await call;
  return status < 300 ? { status, body: data as Success<Result> } : { status, error: data as Refusal };
}

void live((url) => {
  // The generated URLs are relative, which Node.js does not know.
  const fetchUrl = fetch;
  const keyed = (key: string): RequestInit => ({ headers: { "Idempotency-Key": key } });
  globalThis.fetch = (path, init) => fetchUrl(new URL(String(path), url), init);
  return {
    async health() {
      const answered = await getHealth();
      return answered.status === 200 ? answered.data.status : "";
    },
    start: (user_id, quiz_id, { key, resume, seconds }) =>
      reply(
        startSession(
          { user_id, quiz_id, time_limit_seconds: seconds ?? null, if_active: resume ? "resume" : null },
          key ? { headers: { "Idempotency-Key": key } } : {},
        ),
      ),
    save: (id, question_id, answer, version) =>
      reply(updateProgress(id, { question_id, answer, version: version ?? null })),
    annotate: (id, question_id, answer, annotation) => reply(updateProgress(id, { question_id, answer, annotation })),
    saveMany: (id, answers) => reply(saveAnswers(id, { answers })),
    read: (id) => reply(getSession(id)),
    list: (user_id, quiz_id) => reply(listSessions({ user_id, quiz_id })),
    complete: (id, answers) => reply(completeSession(id, answers && { answers })),
    pause: (id, key, reason) => reply(pauseSession(id, { reason }, keyed(key))),
    extend: (id, key, extra_seconds) => reply(changeDeadline(id, { extra_seconds }, keyed(key))),
    resumeAll: (quiz_id, key) => reply(resumeSessions({ quiz_id }, keyed(key))),
    reopen: (id, key, time_limit_seconds, reason) => reply(reopenSession(id, { time_limit_seconds, reason }, keyed(key))),
    history: (id) => reply(listSessionEvents(id)),
    feed: (quiz_id, wait) => reply(listEvents({ quiz_id, wait })),
  };
});
