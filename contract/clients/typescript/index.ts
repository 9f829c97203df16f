/** The session service as a typed client: openapi-fetch over the types of openapi.yaml, and a client that loses no answer. */
import createFetchClient, { type Client, type ClientOptions } from "openapi-fetch";

import type { Answer, paths } from "./schema.js";

export { Attempt, type Options } from "./attempt.js";
export { Autosave } from "./autosave.js";
export type { AttemptEvent } from "./events.js";
export type { Merge } from "./outbox.js";
export type * from "./schema.js";
export { indexedDbStore, type Store } from "./stores.js";

/** The new answer; `null` clears the current one. */
export type AnswerChange = Answer | null;

export type SessionService = Client<paths>;

/** Returns a client of the service at `options.baseUrl`. */
export function createClient(options: ClientOptions & { baseUrl: string }): SessionService {
  return createFetchClient<paths>(options);
}
