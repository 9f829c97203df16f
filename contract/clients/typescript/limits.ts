/** Time limits of functions that the program passes: those of a store, and `token`. */
import type { Store } from "./stores.js";
import { isPromise } from "./stores.js";

/** The error of a call that has not ended in time. */
export class LateError extends Error {
  override name = "LateError";
}

/** Returns the call's result; rejects with LateError if it takes longer than so many seconds. */
export function withTimeLimit<T>(call: Promise<T>, seconds: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new LateError(`not done within ${seconds} s`)), seconds * 1000);
  });
  return Promise.race([call, late]).finally(() => clearTimeout(timer));
}

/** A store with a time limit: as long as a late call has not ended, further calls fail at once. */
export class LimitedStore {
  private lateCalls = 0;

  constructor(
    private store: Store,
    private seconds: number,
    private handlers: { late(): void; recovered(): void },
  ) {}

  getItem(key: string): string | null | Promise<string | null> {
    return this.limit(() => this.store.getItem(key));
  }

  setItem(key: string, value: string): unknown {
    return this.limit(() => this.store.setItem(key, value));
  }

  removeItem(key: string): unknown {
    return this.limit(() => this.store.removeItem?.(key));
  }

  /** Returns the keys that begin with the prefix. */
  async keys(prefix: string): Promise<string[]> {
    const { store } = this;
    if (store.getAllKeys) return (await this.limit(() => store.getAllKeys!())).filter((key) => key.startsWith(prefix));
    const found: string[] = [];
    for (let index = 0; index < (store.length ?? 0); index++) {
      const key = store.key?.(index);
      if (key?.startsWith(prefix)) found.push(key);
    }
    return found;
  }

  private limit<T>(call: () => T | Promise<T>): T | Promise<T> {
    if (this.lateCalls > 0) throw new LateError("an earlier call has not ended");
    const result = call();
    if (!isPromise(result)) return result;
    const ended = (): void => {
      if (--this.lateCalls === 0) this.handlers.recovered();
    };
    return withTimeLimit(Promise.resolve(result), this.seconds).catch((error: unknown) => {
      if (error instanceof LateError) {
        if (this.lateCalls++ === 0) this.handlers.late();
        result.then(ended, ended);
      }
      throw error;
    });
  }
}
