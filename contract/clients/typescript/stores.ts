/** Stores of texts on the device, in which answers are kept until the service has them. */
import { createStore, del, get, keys, set } from "idb-keyval";

/**
 * A store of texts by key: `localStorage`, `AsyncStorage` of React Native, `indexedDbStore()`, or one of your own.
 * Its functions may return promises. `shared` says that several tabs use it: such a store has `removeItem`, and lists
 * its keys, by `getAllKeys` or as `localStorage` does.
 */
export type Store = {
  getItem(key: string): string | null | Promise<string | null>;
  setItem(key: string, value: string): unknown;
  removeItem?(key: string): unknown;
  getAllKeys?(): Promise<readonly string[]>;
  key?(index: number): string | null;
  readonly length?: number;
  readonly shared?: boolean;
};

/** Returns a store in a database of the browser (IndexedDB); all tabs of an origin share it. */
export function indexedDbStore(database = "session-service"): Store {
  const texts = createStore(database, "texts");
  return {
    shared: true,
    getItem: async (key) => (await get<string>(key, texts)) ?? null,
    setItem: (key, value) => set(key, value, texts),
    removeItem: (key) => del(key, texts),
    getAllKeys: () => keys<string>(texts),
  };
}

/** Continues with the result of a store's function, at once if it is no promise; an error is passed to `failed`. */
export function settle<T, R>(
  call: () => T | Promise<T>,
  done: (result: T) => R | Promise<R>,
  failed: (error: unknown) => R | Promise<R> = (error) => {
    throw error;
  },
): R | Promise<R> {
  let result: T | Promise<T>;
  try {
    result = call();
  } catch (error) {
    return failed(error);
  }
  return isPromise(result) ? Promise.resolve(result).then(done, failed) : done(result);
}

/** Returns whether a value is a promise, also one of another realm or library. */
export function isPromise<T>(value: T | Promise<T>): value is Promise<T> {
  return typeof (value as { then?: unknown } | null)?.then === "function";
}

/** Returns whether other tabs may use the store, too. */
export function isShared(store: Store): boolean {
  if (store.shared !== undefined) return store.shared;
  try {
    return typeof document !== "undefined" && store === globalThis.localStorage;
  } catch {
    return false; // the browser denies access
  }
}

/** Throws a TypeError if the store lacks a function that it needs. */
export function checkStore(store: Store): void {
  const needed = ["getItem", "setItem"];
  if (isShared(store)) needed.push("removeItem", ...("key" in store && "length" in store ? [] : ["getAllKeys"]));
  const lacking = needed.filter((name) => typeof (store as { [name: string]: unknown })[name] !== "function");
  if (lacking.length === 0) return;
  const kind = isShared(store) ? "A store that tabs share" : "A store";
  throw new TypeError(`${kind} needs ${needed.join(", ")}; this one has no ${lacking.join(", ")}.`);
}
