// What comes in, as zod schemas.
import { z } from "zod";

const MAX_INTEGER = 2 ** 31 - 1;

const text = (most) =>
  z
    .string()
    .min(1)
    .max(most)
    .refine((it) => it.isWellFormed() && !it.includes("\0"), "has to be well-formed, without U+0000");
const userId = text(255);
const quizId = z.int().min(1).max(MAX_INTEGER);
const questionId = z.int().min(0).max(MAX_INTEGER);
const questionKey = z
  .string()
  .regex(/^(0|[1-9]\d{0,9})$/)
  .refine((key) => Number(key) <= MAX_INTEGER, "has to be a question id");
const version = z.int().min(1).max(MAX_INTEGER);
const answerText = text(10_000).regex(/\S/, "has to be more than white space");
const answer = z.union([answerText, z.array(answerText).min(1).max(100)]).nullable();
const changes = z
  .record(questionKey, answer)
  .refine((it) => Object.keys(it).length >= 1, "has to have an answer")
  .refine((it) => Object.keys(it).length <= 500, "has to have 500 answers at the most");

export const sessionId = z.uuidv4().toLowerCase();

export const startSession = z.strictObject({
  user_id: userId,
  quiz_id: quizId,
  time_limit_seconds: z.int().min(1).max(30 * 24 * 3600).default(1800),
});

export const saveAnswer = z.strictObject({
  question_id: questionId,
  answer,
  version: version.optional(),
});

export const saveAnswers = z.strictObject({
  answers: changes,
  current_question: questionId.optional(),
  version: version.optional(),
});

export const completeSession = z.strictObject({
  answers: changes.optional(),
  version: version.optional(),
});

export const filter = z.strictObject({
  user_id: userId.optional(),
  quiz_id: z.coerce.number().pipe(quizId).optional(),
  status: z.enum(["in_progress", "completed", "expired"]).optional(),
  limit: z.coerce.number().pipe(z.int().min(1).max(100)).default(20),
  cursor: sessionId.optional(),
});
