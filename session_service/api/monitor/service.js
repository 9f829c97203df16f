/* HTTP client: sends requests with the token, and turns each refusal into a sentence. */

import { setClock } from "./clock.js";

const TIMEOUT = 10000; // milliseconds for a reply
const LONGEST_WAIT = 60; // seconds of Retry-After that are honoured

const SENTENCES = {
  SESSION_COMPLETED: "The learner has handed in. Reopen the attempt to let it go on.",
  SESSION_EXPIRED: "The time of this attempt is over. More time or reopening lets it go on.",
  SESSION_CONFLICT: "The attempt has changed meanwhile.",
  SESSION_PAUSED: "The attempt is paused.",
  SESSION_NOT_FOUND: "The attempt does not exist, or is not in your quizzes.",
  QUIZ_NOT_FOUND: "This quiz is not one of those that the token allows.",
  IDEMPOTENCY_KEY_REUSED: "The service has another order with this key. Close the dialog and give the order anew.",
};
const BY_STATUS = {
  401: "The token is missing, wrong or has expired.",
  403: "The token does not allow this.",
  404: "It does not exist, or is not in your quizzes.",
  408: "The network is too slow: the request did not arrive as a whole.",
  429: "Too many requests with this token.",
  503: "The service cannot answer at the moment.",
};
const NO_REPLY = "The service does not reply.";

/** The sentence for a status and an error code of the contract. */
export function sentenceFor(status, code, details) {
  const found = SENTENCES[code] ?? BY_STATUS[status];
  if (found) return found;
  const first = details?.[0];
  if (status === 400 && first) return `The service refuses the request: ${first.path} ${first.message}.`;
  return status >= 500 ? "The service has failed." : `The service refuses the request (${status}).`;
}

/** A request without the wanted reply: `status` 0 if there was none at all. */
export class Failure extends Error {
  constructor(status, body, retryAfter) {
    super(status ? sentenceFor(status, body?.errorCode, body?.details) : NO_REPLY);
    this.status = status;
    this.code = body?.errorCode ?? null;
    this.session = body?.session ?? null;
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may succeed later, and may be sent again without doing anything twice. */
  get passing() {
    return [0, 408, 429, 500, 502, 503, 504].includes(this.status);
  }
}

let token = "";

/** Keep the token in memory; return why it cannot be one, or nothing. */
export function useToken(text) {
  const bare = text.trim().replace(/^bearer\s+/i, "");
  if (!bare) return "Paste the token.";
  if (!/^[\x21-\x7e]+$/.test(bare)) {
    return "This is no token: it has a character that a token cannot have, such as a blank, a line break or an accent. Copy it again, as a whole.";
  }
  token = bare;
  return "";
}

export const hasToken = () => token !== "";

/** A random key for an order. `crypto.randomUUID` is missing on a page that came over plain HTTP. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `monitor-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/** Send a request; return its status, ETag and body, which is null for a 304; throw Failure. */
export async function send(method, path, { body, key, version, tag, query } = {}) {
  const headers = {};
  if (token) headers.authorization = `Bearer ${token}`;
  if (body) headers["content-type"] = "application/json";
  if (key) headers["idempotency-key"] = key;
  if (version) headers["if-match"] = `"${version}"`;
  if (tag) headers["if-none-match"] = tag;
  const url = query ? `${path}?${new URLSearchParams(query)}` : path;
  const options = { method, headers, cache: "no-store", credentials: "omit", redirect: "error" };
  const sent = performance.now();
  let reply;
  let content = null;
  try {
    reply = await fetch(url, {
      ...options,
      body: body ? JSON.stringify(body) : undefined,
      signal: AbortSignal.timeout(TIMEOUT),
    });
    const received = performance.now();
    if (reply.status !== 304) content = await reply.json().catch(ignored);
    setClock(reply.headers.get("session-now") ?? "", sent, received);
  } catch {
    throw new Failure(0, null, 0);
  }
  if (!(reply.ok || reply.status === 304)) throw new Failure(reply.status, content, waitOf(reply));
  if (reply.ok && content === null) throw new Failure(0, null, 0);
  return { status: reply.status, tag: reply.headers.get("etag"), body: content };
}

/* A proxy's error page is no JSON; a reply that is cut off is none either. */
const ignored = () => null;

function waitOf(reply) {
  const seconds = Number(reply.headers.get("retry-after"));
  return Number.isFinite(seconds) ? Math.min(Math.max(seconds, 0), LONGEST_WAIT) : 0;
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
