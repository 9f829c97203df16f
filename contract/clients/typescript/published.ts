/** The state of an attempt, and how the tab that owns it publishes it to the other tabs of the device. */
import type { AnswerChange } from "./client.js";
import { readClocks, since, type ServiceTime } from "./clocks.js";
import type { AttemptEvent } from "./events.js";
import { isObject, type Dict } from "./json.js";
import type { Session } from "./schema.js";
import { isSession } from "./sessions.js";

export type State = {
  /** The id of the session, also before the first reply. */
  id: string | null;
  session: Session | null;
  ended: boolean;
  problem: string | null;
  unsaved: Dict<AnswerChange>;
  saved: Dict<AnswerChange>;
  refused: Dict<AnswerChange>;
  lost: Dict<AnswerChange>;
  completing: boolean;
  storeFailed: boolean;
  stored: boolean;
};

/** The owner's state, and the service's time. */
type Owner = State & { time: ServiceTime };

/**
 * A message of the owner: `age` are the milliseconds since the clocks of `time` were read, `received` are the keys of
 * entries of the inbox that the owner has now.
 */
export type Published = {
  state: State;
  event: AttemptEvent;
  received: string[];
  time: ServiceTime;
  age: number;
};

/** Returns a copy of the state, for a message. */
export function copyState(state: State): State {
  const { id, session, ended, problem, unsaved, refused, lost, completing, storeFailed, stored } = state;
  const saved = session ? {} : state.saved; // the session has them
  return { id, session, ended, problem, unsaved, saved, refused, lost, completing, storeFailed, stored };
}

/** Returns the owner's message to the other tabs. */
export function published(owner: Owner, event: AttemptEvent, received: string[]): Published {
  const { time } = owner;
  return { state: copyState(owner), event, received, time, age: since(time.at) };
}

/** Returns whether a message is one of an owner. */
export function isPublished(message: object): message is Published {
  const { state, event, received, time } = message as { [name: string]: unknown };
  if (!isObject(state) || !isObject(event) || typeof event["type"] !== "string" || !Array.isArray(received)) return false;
  const objects = [state["unsaved"], state["refused"], state["lost"], time];
  return objects.every(isObject) && (state["session"] === null || isSession(state["session"]));
}

/** Returns the time with the clocks of this tab: monotonic clocks of tabs have different starts. */
export function timeHere({ time, age }: Published): ServiceTime {
  const { steady, date } = readClocks();
  const elapsed = Math.max(age, date - time.at.date); // this tab may have been suspended before it read the message
  return { now: time.now, at: { steady: steady - elapsed, date: date - elapsed } };
}
