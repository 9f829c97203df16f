/** Tokens: asks the program for one before the first request, and for a new one after a 401. */
import { LateError, withTimeLimit } from "./limits.js";

export class Token {
  private bearer: string | null = null;

  /** `late` is called when `token` has not returned in time. */
  constructor(
    private token: (() => string | Promise<string>) | undefined,
    private seconds: number,
    private late: () => void,
  ) {}

  get headers(): { authorization?: string } {
    return this.bearer === null ? {} : { authorization: `Bearer ${this.bearer}` };
  }

  /** Runs requests, which return the seconds to wait; runs them again with a new token if they needed one. */
  async use(run: () => Promise<number>, needsNew: () => boolean): Promise<number> {
    if (!this.token) return run();
    // Without one the request is sent all the same, and its 401 asks again.
    if (this.bearer === null) await this.renew(this.token);
    const wait = await run();
    return wait && needsNew() && (await this.renew(this.token)) ? run() : wait;
  }

  /** Returns whether there is a new token. */
  private async renew(token: () => string | Promise<string>): Promise<boolean> {
    const before = this.bearer;
    try {
      this.bearer = await withTimeLimit((async () => token())(), this.seconds);
    } catch (error) {
      if (error instanceof LateError) this.late();
    }
    return this.bearer !== before;
  }
}
