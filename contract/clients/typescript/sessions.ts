/** Sessions in replies of the service. */
import { isObject } from "./json.js";
import type { Assignment } from "./kept.js";
import type { Session, SessionPage } from "./schema.js";

const ENDED: Session["status"][] = ["completed", "expired"];

/** Returns whether no answer is accepted any more; an unknown status of a later release is no end. */
export const hasEnded = ({ status }: Pick<Session, "status">): boolean => ENDED.includes(status);

/** Returns whether a reply has a session. */
export const isSession = (value: unknown): value is Session => {
  if (!isObject(value) || typeof value["id"] !== "string" || typeof value["version"] !== "number") return false;
  const status = typeof value["status"] === "string"; // a later release may have more of them
  const end = value["expires_at"] === null || Date.parse(String(value["expires_at"])) > 0;
  return status && end && isObject(value["answers"]);
};

/** Returns whether a reply lists sessions of this user and quiz. */
export const isPageOf = (
  value: unknown,
  { user_id, quiz_id }: Assignment,
): value is SessionPage["items"] =>
  Array.isArray(value) &&
  value.every((one) => isObject(one) && typeof one["id"] === "string") &&
  value.every((one) => one.user_id === user_id && one.quiz_id === quiz_id);
