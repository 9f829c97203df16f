/** Requests: sends one and reads its reply, whatever it is. */
import { readClocks, type Clocks } from "./clocks.js";
import { isObject } from "./json.js";

/**
 * A reply. `code` is `OK`, the `errorCode` of an error, or `NO_REPLY` if it is not from the service; `now` the
 * service's time in milliseconds; `asked` the clocks when the request was sent; `retryAfter` in seconds.
 */
export type Reply = {
  code: string;
  content: unknown;
  now: number;
  asked: Clocks;
  retryAfter: number;
  /** Whether a proxy with a lower limit has refused the body, which the service did not get. */
  tooLarge: boolean;
};

/** The result of a request by openapi-fetch. */
export type Fetched = { data?: unknown; error?: unknown; response: Response };

const TIMEOUT = 30_000; // milliseconds for a request; the service replies within 5 s
const MAX_RETRY_AFTER = 300; // seconds

/** Sends a request and returns its reply; only JSON of the contract's shape counts as the service's. */
export async function ask(request: (signal: AbortSignal) => Promise<Fetched>): Promise<Reply> {
  const asked = readClocks();
  const controller = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  // The signal alone is not enough: some bodies never end, even after it.
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      controller.abort();
      reject(new Error("no reply in time"));
    }, TIMEOUT);
  });
  try {
    const { data, error, response } = await Promise.race([request(controller.signal), late]);
    const date = Date.parse(response.headers.get("date") ?? "") || Date.now();
    const retryAfter = parseRetryAfter(response.headers.get("retry-after") ?? "", date);
    // A date has whole seconds.
    const now = Date.parse(response.headers.get("session-now") ?? "") || date + 1000;
    const reply = { content: null, now, asked, retryAfter, tooLarge: false };
    if (isObject(data) && [200, 201].includes(response.status)) return { ...reply, code: "OK", content: data };
    if (isObject(error) && typeof error["errorCode"] === "string" && error["statusCode"] === response.status) {
      return { ...reply, code: error["errorCode"], content: error["session"] };
    }
    return { ...reply, code: response.status === 401 ? "UNAUTHENTICATED" : "NO_REPLY", tooLarge: response.status === 413 };
  } catch {
    return { code: "NO_REPLY", content: null, now: Date.now(), asked, retryAfter: 0, tooLarge: false };
  } finally {
    clearTimeout(timer);
  }
}

/** Returns the seconds of Retry-After (RFC 9110, 10.2.3), at most MAX_RETRY_AFTER; 0 if there are none. */
function parseRetryAfter(value: string, now: number): number {
  const seconds = /^[0-9]+$/.test(value) ? Number(value) : (Date.parse(value) - now) / 1000;
  return Math.min(Math.max(seconds || 0, 0), MAX_RETRY_AFTER);
}

/** Makes an idempotency key: unique is enough. `crypto.randomUUID` does not exist on plain-http pages. */
export const makeKey = (): string => `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
