// The rules: what may happen to a session, and in which order the stores are asked and told.
import { ServiceError } from "./errors.js";
import { held, hold, pool } from "./stores.js";

const SUMMARY = `id, user_id, quiz_id, current_question, status, started_at, expires_at, last_saved_at,
  completed_at, created_at, updated_at`;
const STATE = "case when status = 'in_progress' and expires_at <= now() then 'expired' else status end";
const SESSION = `${SUMMARY}, answers, version`;

/** Start an attempt. */
export async function start({ user_id, quiz_id, time_limit_seconds }) {
  const now = new Date();
  const end = new Date(now.getTime() + time_limit_seconds * 1000);
  const { rows } = await pool.query(
    `insert into quiz_sessions
       (user_id, quiz_id, started_at, expires_at, last_saved_at, created_at, updated_at)
     values ($1, $2, $3, $4, $3, $3, $3)
     returning ${SESSION}`,
    [user_id, quiz_id, now, end],
  );
  await hold(rows[0]);
  return rows[0];
}

/** Return the sessions that the filter lets through, newest first. */
export async function find({ user_id, quiz_id, status, cursor, limit }) {
  const values = [];
  const conditions = [];
  const narrow = (value, condition) => {
    if (value !== undefined) conditions.push(condition(`$${values.push(value)}`));
  };
  narrow(user_id, (it) => `user_id = ${it}`);
  narrow(quiz_id, (it) => `quiz_id = ${it}`);
  narrow(status, (it) => `${STATE} = ${it}`);
  narrow(cursor, (it) => `(created_at, id) < (select created_at, id from quiz_sessions where id = ${it})`);
  const { rows } = await pool.query(
    `select ${SUMMARY} from quiz_sessions
     ${conditions.length ? `where ${conditions.join(" and ")}` : ""}
     order by created_at desc, id desc
     limit $${values.push(limit + 1)}`,
    values,
  );
  const items = rows.slice(0, limit).map(shown);
  return { items, next_cursor: rows.length > limit ? items.at(-1).id : null };
}

/** Return the session, from the cache if it is there. */
export async function read(id) {
  let session = await held(id);
  if (!session) {
    session = await stored(id);
    await hold(session, { replace: false });
  }
  session = shown(session);
  if (session.status === "expired") throw refused("SESSION_EXPIRED", session);
  return session;
}

/** Merge the changes into a running session, and end it if that is asked: one statement, so none is lost. */
export async function write(id, { changes = {}, currentQuestion = null, version = null, completes = false }) {
  const { rows } = await pool.query(
    `update quiz_sessions set
       answers = jsonb_strip_nulls(answers || $2::jsonb),
       current_question = coalesce($3::integer, current_question),
       version = version + 1,
       last_saved_at = $4::timestamptz,
       updated_at = $4::timestamptz,
       status = case when $5::boolean then 'completed' else status end,
       completed_at = case when $5::boolean then $4::timestamptz end
     where id = $1
       and status = 'in_progress'
       and expires_at > $4::timestamptz
       and ($6::integer is null or version = $6::integer)
     returning ${SESSION}`,
    [id, changes, currentQuestion, new Date(), completes, version],
  );
  if (rows.length === 0) return whyNot(id, completes);
  await hold(rows[0]);
  return rows[0];
}

/** Store `expired` in the sessions whose time is over. */
export async function expire() {
  await pool.query(
    `update quiz_sessions set status = 'expired', updated_at = now()
     where status = 'in_progress' and expires_at <= now()`,
  );
}

/** Say why nothing was written; completing what is completed is no error. */
async function whyNot(id, completes) {
  const session = shown(await stored(id));
  if (session.status === "completed" && completes) return session;
  if (session.status === "completed") throw refused("SESSION_COMPLETED", session);
  if (session.status === "expired") throw refused("SESSION_EXPIRED", session);
  const about = { currentVersion: session.version, retryable: true, retryAfterSeconds: 1 };
  throw refused("SESSION_CONFLICT", session, about);
}

async function stored(id) {
  const { rows } = await pool.query(`select ${SESSION} from quiz_sessions where id = $1`, [id]);
  if (rows.length === 0) throw new ServiceError("SESSION_NOT_FOUND", { sessionId: id });
  return rows[0];
}

/** Show `expired` from the moment the time is over, whatever the stores say. */
function shown(session) {
  const over = session.status === "in_progress" && new Date(session.expires_at) <= new Date();
  return over ? { ...session, status: "expired" } : session;
}

function refused(code, session, fields) {
  return new ServiceError(code, { sessionId: session.id, session, ...fields });
}
