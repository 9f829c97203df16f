/** The sender: opens an attempt, sends its outbox, completes it; one request at a time. */
import type { AnswerChange, SessionService } from "./client.js";
import { readClocks, type ServiceTime } from "./clocks.js";
import type { Emit } from "./events.js";
import type { Entry } from "./inbox.js";
import { isObject, sizeOf, type Dict } from "./json.js";
import { answersOf, type Assignment } from "./kept.js";
import { Merger, type Merge } from "./merge.js";
import type { Outbox } from "./outbox.js";
import type { State } from "./published.js";
import { ask, type Fetched, type Reply } from "./request.js";
import type { Session } from "./schema.js";
import { hasEnded, isPageOf, isSession } from "./sessions.js";

type Purpose = "open" | "save" | "complete";
type Headers = { authorization?: string };

/** What a sender needs of its attempt; `mayWrite` is false once another tab has taken the attempt over. */
export type Context = {
  client(): SessionService;
  headers(): Headers;
  merge: Merge;
  emit: Emit;
  mayWrite(): Promise<boolean>;
};

const MAX_BACKOFF = 30; // seconds
// Bytes of a body up to which a browser sends it also after its page was closed (Fetch, "keepalive").
const MAX_KEEPALIVE = 60_000;
const MAX_TOO_LARGE = 3; // replies of a proxy in a row, until a write is made smaller
const MAX_REFUSALS = 20; // requests in a row, until a wait
const WITH_SESSION = ["OK", "SESSION_CONFLICT", "SESSION_PAUSED", "SESSION_COMPLETED", "SESSION_EXPIRED"];

export class Sender implements State {
  session: Session | null = null;
  ended = false;
  problem: string | null = null;
  /** The service's time of the last reply. */
  time: ServiceTime = { now: Date.now(), at: readClocks() };
  private failures = 0;
  private refusals = 0; // since the last success
  private tooLarge = 0; // replies of a proxy in a row
  private merger: Merger;

  constructor(
    readonly outbox: Outbox,
    private context: Context,
    /** Of the last `open`, which `flush` repeats as long as there is no session. */
    public assignment: Assignment | null,
  ) {
    this.merger = new Merger(context.merge, () => context.emit({ type: "changed" }));
  }

  /** Returns whether answers are to be sent, or the completion. */
  get pending(): boolean {
    return !this.ended && (!this.outbox.isEmpty || this.outbox.kept.completing);
  }

  get id(): string | null {
    return this.outbox.kept.id;
  }

  get unsaved(): Dict<AnswerChange> {
    return this.outbox.unsaved;
  }

  get saved(): Dict<AnswerChange> {
    return this.outbox.kept.saved;
  }

  get refused(): Dict<AnswerChange> {
    return this.outbox.kept.refused;
  }

  get lost(): Dict<AnswerChange> {
    return this.outbox.kept.lost;
  }

  get completing(): boolean {
    return this.outbox.kept.completing;
  }

  get storeFailed(): boolean {
    return this.outbox.text.failed;
  }

  get stored(): boolean {
    return this.outbox.text.isWritten;
  }

  /** Adds an answer, or the wish to hand in. */
  add(entry: Entry): void {
    this.outbox.add(entry, this.ended);
  }

  /** Reads a store again that could not be read before. */
  async readAgain(olderKey: string): Promise<void> {
    await this.outbox.readAgain(olderKey);
    if (this.ended) this.end(true);
  }

  /** Continues an attempt, or starts one. Returns the seconds to wait before the next call, 0 when done. */
  async open(assignment: Assignment, anew: boolean): Promise<number> {
    this.assignment = assignment;
    let { kept } = this.outbox;
    if (kept.id && this.outbox.belongsTo(assignment)) {
      const wait = await this.read(kept.id);
      // After a 404 there is no id any more, and a new attempt is started below.
      if (wait && kept.id) return wait;
    }
    if (!this.outbox.belongsTo(assignment) || (this.ended && anew)) {
      [this.session, this.ended] = [null, false];
      if (!(await this.outbox.clear())) return this.pause("STORE_FAILED");
      ({ kept } = this.outbox);
    }
    Object.assign(kept, assignment);
    kept.anew ||= anew && !this.session;
    if (!kept.id && !kept.anew) {
      const wait = await this.find(assignment);
      if (wait) return wait;
    }
    if (kept.id) return this.session ? 0 : this.read(kept.id);
    return this.request("open", (init) =>
      this.context.client().POST("/api/sessions/start", { ...init, body: { ...assignment, if_active: "resume" } }),
    );
  }

  /** Sends every unsaved answer, then the completion if it was asked for; returns as `open` does. */
  async flush(): Promise<number> {
    if (!this.session) {
      // The program of this tab may not have opened the attempt, but that of another one.
      const assignment = this.assignment ?? this.outbox.assignment;
      if (!assignment) return this.pause("NOT_OPEN");
      const wait = await this.open(assignment, false);
      if (wait) return wait;
    }
    const unmerged = new Set<string>();
    while (this.session && !this.ended && !this.outbox.isEmpty) {
      const wait = await this.save(this.session, unmerged);
      if (wait) return wait;
    }
    if (this.session && this.pending) return this.complete(this.session.id);
    return this.done();
  }

  private async save(session: Session, unmerged: Set<string>): Promise<number> {
    const write = await this.outbox.nextWrite(session, this.merger, unmerged, this.context.emit);
    // Answers that were changed during a merge are merged again.
    if (!write) return unmerged.size > 0 ? this.wait("UNDECIDED", this.merger.secondsUntilDue(unmerged)) : 0;
    await this.outbox.text.written;
    const body = { answers: answersOf(write.changes), version: write.version };
    const params = { path: { id: session.id }, header: { "Idempotency-Key": write.key } };
    const keepalive = sizeOf(body) <= MAX_KEEPALIVE;
    return this.request(
      "save",
      (init) => this.context.client().PATCH("/api/sessions/{id}/progress", { ...init, params, body, keepalive }),
      write.key,
    );
  }

  private complete(id: string): Promise<number> {
    return this.request("complete", (init) =>
      this.context.client().POST("/api/sessions/{id}/complete", { ...init, params: { path: { id } } }),
    );
  }

  private read(id: string): Promise<number> {
    return this.request("open", (init) =>
      this.context.client().GET("/api/sessions/{id}", { ...init, params: { path: { id } } }),
    );
  }

  /** Looks for attempts made on other devices: takes the one that runs, else the newest. */
  private async find(assignment: Assignment): Promise<number> {
    const reply = await this.ask((init) =>
      this.context.client().GET("/api/sessions", { ...init, params: { query: assignment } }),
    );
    if (reply.code !== "OK") return this.pause(reply.code, reply.retryAfter);
    const page = isObject(reply.content) ? reply.content["items"] : null;
    if (!isPageOf(page, assignment)) return this.pause("NO_REPLY");
    this.outbox.kept.id = (page.find((session) => !hasEnded(session)) ?? page[0])?.id ?? null;
    return this.done();
  }

  private ask(send: (init: { signal: AbortSignal; headers: Headers }) => Promise<Fetched>): Promise<Reply> {
    return ask((signal) => send({ signal, headers: this.context.headers() }));
  }

  /** Sends a request and applies its reply; returns the seconds to wait before the next request. */
  private async request(
    purpose: Purpose,
    send: (init: { signal: AbortSignal; headers: Headers }) => Promise<Fetched>,
    key: string | null = null,
  ): Promise<number> {
    if (!(await this.context.mayWrite())) return this.pause("OTHER_TAB");
    const reply = await this.ask(send);
    // Another tab sends the same write with the same key.
    if (!(await this.context.mayWrite())) return this.pause("OTHER_TAB");
    const [{ code }, wasEnded] = [reply, this.ended];
    const saves = purpose === "save";
    const session = this.ownSession(reply.content);
    const running = session !== null && !hasEnded(session);
    if (WITH_SESSION.includes(code)) {
      if (!session || (purpose === "complete" && code === "OK" && running)) {
        return this.pause("NO_REPLY", reply.retryAfter);
      }
      this.adopt(session, reply);
    }
    if (code === "OK" && running) {
      [this.refusals, this.tooLarge] = [0, 0];
      this.outbox.reopen();
      if (key !== null) this.report("saved", this.outbox.acknowledge(key));
    } else if (["OK", "SESSION_COMPLETED", "SESSION_EXPIRED"].includes(code)) this.end(wasEnded);
    else if (saves && ["VALIDATION_ERROR", "PAYLOAD_TOO_LARGE"].includes(code)) {
      this.report("refused", this.outbox.refuse());
      this.outbox.keep();
      // A session at its limit refuses each answer.
      if (++this.refusals % MAX_REFUSALS === 0) return this.pause(code, reply.retryAfter);
      this.problem = null;
      this.context.emit({ type: "changed" });
      return 0;
    } else {
      this.tooLarge = reply.tooLarge && saves ? this.tooLarge + 1 : 0;
      if (this.tooLarge === MAX_TOO_LARGE) {
        this.tooLarge = 0;
        this.outbox.shrink();
      } else this.recover(code, saves);
      this.outbox.keep();
      return this.pause(code, reply.retryAfter);
    }
    this.outbox.keep();
    return this.done();
  }

  /** Returns the session in a reply if it is this attempt's. */
  private ownSession(content: unknown): Session | null {
    if (!isSession(content) || !this.outbox.belongsTo(content)) return null;
    return [null, content.id].includes(this.outbox.kept.id) ? content : null;
  }

  private adopt(session: Session, { now, asked }: Reply): void {
    [this.session, this.ended] = [session, false];
    // The clocks of the request's start: the reply's time is later, so the time left is never too long.
    this.time = { now, at: asked };
    this.report("restored", this.outbox.adopt(session));
  }

  private end(wasEnded: boolean): void {
    if (!this.session) return;
    this.outbox.end(this.session.answers);
    this.ended = true;
    if (wasEnded) return;
    this.context.emit({ type: "ended", session: this.session, lost: { ...this.outbox.kept.lost } });
  }

  /** Prepares the next try after an error that allows one; other requests are repeated unchanged. */
  private recover(code: string, saves: boolean): void {
    // The service has replied with the session: a series of failures is over.
    if (WITH_SESSION.includes(code)) this.failures = 0;
    if (code === "SESSION_CONFLICT") this.outbox.requeue();
    else if (code === "IDEMPOTENCY_KEY_REUSED" && saves) this.outbox.requeue();
    // Nothing was written. A slow network needs smaller requests.
    else if (code === "REQUEST_TIMEOUT" && saves) this.outbox.shrink();
    else if (code === "SESSION_NOT_FOUND") {
      this.outbox.restart(this.session?.answers ?? {});
      [this.session, this.ended] = [null, false];
    }
  }

  private report(type: "saved" | "refused" | "restored", answers: ReturnType<Outbox["acknowledge"]>): void {
    if (Object.keys(answers).length > 0) this.context.emit({ type, answers });
  }

  private done(): number {
    [this.problem, this.failures] = [null, 0];
    this.context.emit({ type: "changed" });
    return 0;
  }

  /** Returns the seconds to wait: exponential backoff with jitter, and at least `retryAfter`. */
  private pause(problem: string, retryAfter = 0): number {
    const backoff = Math.min(MAX_BACKOFF, 2 ** this.failures);
    this.failures++;
    return this.wait(problem, (1 + Math.random() / 2) * Math.max(backoff, retryAfter), retryAfter);
  }

  private wait(problem: string, seconds: number, retryAfter = 0): number {
    this.problem = problem;
    this.context.emit({ type: "waiting", problem, seconds, retryAfter });
    return seconds;
  }
}
