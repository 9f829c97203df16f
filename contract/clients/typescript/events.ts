/** Events of an attempt. */
import type { AnswerChange } from "./client.js";
import type { Dict } from "./json.js";
import type { Session } from "./schema.js";

/**
 * What happened to an attempt:
 * - `changed`: its properties may have changed; after each other event, too
 * - `saved`: the service has acknowledged the answers
 * - `waiting`: the next request follows after so many seconds, because of the problem; the service asked for
 *   `retryAfter` of them
 * - `timeout`: the store or `token` did not return in time: answers are in memory only, or are sent without a new token
 * - `merged`: another device had changed the answer, and this one was chosen
 * - `refused`: the service does not accept the answers
 * - `restored`: the service had lost the answers, which it had acknowledged; they are sent again
 * - `ended`: the attempt was completed or its time is over; `lost` are the answers that came too late
 */
export type AttemptEvent =
  | { type: "changed" }
  | { type: "saved" | "refused" | "restored"; answers: Dict<AnswerChange> }
  | { type: "waiting"; problem: string; seconds: number; retryAfter: number }
  | { type: "timeout"; of: "store" | "token" }
  | { type: "merged"; question: string; mine: AnswerChange; theirs: AnswerChange; answer: AnswerChange }
  | { type: "ended"; session: Session; lost: Dict<AnswerChange> };

export type Emit = (event: AttemptEvent) => void;
