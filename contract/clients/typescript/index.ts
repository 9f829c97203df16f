/** The typed client of the session service, and an attempt that loses no answer. */
export { Attempt, type Options } from "./attempt.js";
export { Autosave } from "./autosave.js";
export * from "./client.js";
export type { AttemptEvent } from "./events.js";
export type { Merge } from "./merge.js";
export { indexedDbStore, type Store } from "./stores.js";
