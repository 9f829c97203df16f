/** The session service as a typed client: openapi-fetch over the types of openapi.yaml. */
import createFetchClient, { type Client, type ClientOptions } from "openapi-fetch";

import type { Answer, paths } from "./schema.js";

export type * from "./schema.js";

/** The new answer; `null` clears the current one. */
export type AnswerChange = Answer | null;

export type SessionService = Client<paths>;

/** Returns a client of the service at `options.baseUrl`. */
export function createClient(options: ClientOptions & { baseUrl: string }): SessionService {
  return createFetchClient<paths>(options);
}
