/** JSON values: copies and comparisons. */
import type { AnswerChange } from "./client.js";

export type Dict<T> = { [name: string]: T };

/** Returns a copy without a prototype, so that any text is a key, `__proto__` included. */
export const dict = <T>(from: Dict<T> = {}): Dict<T> => Object.assign(Object.create(null) as Dict<T>, from);

export const isObject = (value: unknown): value is Dict<unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Returns an id as the service returns it: the decimal of an integer is that integer. */
export const canonicalId = (id: number | string): number | string =>
  /^(0|[1-9][0-9]{0,15})$/.test(String(id)) && Number.isSafeInteger(Number(id)) ? Number(id) : id;

/** Returns a copy, made by way of JSON; throws if the value is not JSON. */
export const copyOf = (answer: AnswerChange): AnswerChange =>
  JSON.parse(
    JSON.stringify(answer, (_, inner: unknown) => {
      if (typeof inner === "number" && !Number.isFinite(inner)) throw new RangeError("no JSON"); // it would be null
      return inner;
    }),
  ) as AnswerChange;

/** Returns whether two values are equal as JSON, in which the order of names has no meaning. */
export const same = (one: AnswerChange, other: AnswerChange): boolean => sortedJson(one) === sortedJson(other);

const sortedJson = (value: unknown): string =>
  JSON.stringify(value, (_, inner: unknown) =>
    isObject(inner) ? Object.fromEntries(Object.entries(inner).sort()) : inner,
  );

/** Returns the answer to a question; `null` if there is none. */
export const answerIn = (answers: Dict<AnswerChange>, question: string): AnswerChange =>
  Object.hasOwn(answers, question) ? answers[question]! : null;

/** Returns the size of a value as JSON in UTF-8, in bytes; a character beyond ASCII counts as its maximum. */
export const sizeOf = (value: unknown): number => JSON.stringify(value).replace(/[^\x00-\x7f]/g, "xxx").length;
