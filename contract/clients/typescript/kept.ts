/** The stored content of an attempt. */
import type { AnswerChange } from "./client.js";
import { dict, isObject, type Dict } from "./json.js";
import type { Session } from "./schema.js";

/** The format of stored content and of the messages of tabs: tabs with different ones have nothing in common. */
export const FORMAT = 1;

/** A change of one answer; `seen` is the stored answer that the learner saw when giving it. */
export type Change = { answer: AnswerChange; seen: AnswerChange };
export type Changes = Dict<Change>;
/** A write that was sent, or will be: it is repeated unchanged, with the same idempotency key. */
export type Write = { key: string; changes: Changes; version: number };
/** A user and the quiz that the user works on. */
export type Assignment = Pick<Session, "user_id" | "quiz_id">;
/**
 * The stored content: `anew` ignores earlier attempts at the next start, `saved` are acknowledged answers, `times` are
 * those at which the learner gave the last answer to each question on this device, `received` are the keys of entries of
 * the inbox that are in this content, and may still be in the store. `past` are the ids of sessions of earlier attempts.
 */
export type Kept = {
  id: string | null;
  user_id: string | null;
  quiz_id: Assignment["quiz_id"] | null;
  anew: boolean;
  completing: boolean;
  version: number;
  saved: Dict<AnswerChange>;
  times: Dict<number>;
  unsent: Changes;
  sent: Write | null;
  refused: Dict<AnswerChange>;
  lost: Dict<AnswerChange>;
  received: string[];
  past: string[];
};

/** Returns the answers alone. */
export const answersOf = (changes: Changes): Dict<AnswerChange> =>
  Object.fromEntries(Object.entries(changes).map(([question, { answer }]) => [question, answer]));

/** Returns the content of a new store. */
export const nothingKept = (): Kept => ({
  ...{ id: null, user_id: null, quiz_id: null, anew: false, completing: false, version: 0, sent: null },
  ...{ saved: dict(), times: dict(), unsent: dict(), refused: dict(), lost: dict() },
  received: [],
  past: [],
});

/** Parses stored content; throws if it is not an attempt's. */
export function parseKept(content: string): Kept {
  const parsed: unknown = JSON.parse(content);
  const kept = { ...nothingKept(), ...(isObject(parsed) ? parsed : { unsent: null }) } as Kept;
  const sent = kept.sent ?? { key: "", changes: {}, version: 0 };
  const changes = [kept.unsent, sent.changes].every(
    (group) => isObject(group) && Object.values(group).every((one) => "answer" in one && "seen" in one),
  );
  const isWrite = typeof sent.key === "string" && typeof sent.version === "number";
  const isId = kept.id === null || typeof kept.id === "string";
  const maps = [kept.saved, kept.times, kept.refused, kept.lost].every(isObject) && typeof kept.version === "number";
  const lists = [kept.received, kept.past].every(Array.isArray);
  if (!(changes && isWrite && isId && maps && lists)) throw new TypeError(content);
  for (const name of ["saved", "refused", "lost"] as const) kept[name] = dict(kept[name]);
  [kept.unsent, kept.times] = [dict(kept.unsent), dict(kept.times)];
  return kept;
}

/** Returns stored content with what was added before it could be read; throws if it is that of another attempt. */
export function mergeKept(stored: Kept, kept: Kept): Kept {
  const differ = (["id", "user_id", "quiz_id"] as const).filter(
    (name) => kept[name] !== null && stored[name] !== null && kept[name] !== stored[name],
  );
  if (differ.length > 0) throw new TypeError(`another ${differ.join(", ")}`);
  const merged = { ...stored, times: dict({ ...stored.times, ...kept.times }), sent: null };
  merged.unsent = dict({ ...changesIn(stored), ...changesIn(kept) });
  for (const name of ["saved", "refused", "lost"] as const) merged[name] = dict({ ...stored[name], ...kept[name] });
  // An answer that was given since then replaces the stored one.
  const groups = ["unsent", "saved", "refused", "lost"] as const;
  const present = { ...kept, unsent: changesIn(kept) };
  for (const question of Object.keys(kept.times)) {
    for (const name of groups) if (!Object.hasOwn(present[name], question)) delete merged[name][question];
    merged.times[question] = Math.max(kept.times[question]!, stored.times[question] ?? 0);
  }
  for (const name of ["received", "past"] as const) merged[name] = [...new Set([...stored[name], ...kept[name]])];
  return {
    ...merged,
    ...{ id: kept.id ?? stored.id, user_id: kept.user_id ?? stored.user_id, quiz_id: kept.quiz_id ?? stored.quiz_id },
    anew: kept.anew || (kept.id === null && stored.anew),
    completing: kept.completing || stored.completing,
    version: kept.version || stored.version,
  };
}

/** Returns the unsent changes, with those of the write in flight. */
function changesIn({ sent, unsent }: Kept): Changes {
  const changes: Changes = dict(unsent);
  for (const [question, { answer, seen }] of Object.entries(sent?.changes ?? {})) {
    changes[question] = { answer: Object.hasOwn(unsent, question) ? unsent[question]!.answer : answer, seen };
  }
  return changes;
}

/** Returns the times of the answers in stored content; none if it is not an attempt's. */
export function timesOf(content: string | null): number[] {
  try {
    return content === null ? [] : Object.values(parseKept(content).times);
  } catch {
    return [];
  }
}
