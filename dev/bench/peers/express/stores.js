// PostgreSQL and Redis: the pool, the table, and the sessions that are held in the cache.
import pg from "pg";
import { createClient } from "redis";

const TTL = 30; // seconds

const { DATABASE_URL, REDIS_URL, DATABASE_POOL_SIZE = "10" } = process.env;

export const pool = new pg.Pool({ connectionString: DATABASE_URL, max: Number(DATABASE_POOL_SIZE) });
pool.on("error", (error) => console.error("database:", error.message));

const where = REDIS_URL.startsWith("unix://")
  ? { socket: { path: new URL(REDIS_URL).pathname } }
  : { url: REDIS_URL };
export const redis = createClient({ ...where, disableOfflineQueue: true });
redis.on("error", (error) => console.error("cache:", error.message));

const SCHEMA = `
  create table if not exists quiz_sessions (
    id uuid primary key default gen_random_uuid(),
    user_id varchar(255) not null,
    quiz_id integer not null,
    current_question integer not null default 0,
    answers jsonb not null default '{}',
    status varchar(20) not null default 'in_progress',
    version integer not null default 1,
    started_at timestamptz not null,
    expires_at timestamptz not null,
    last_saved_at timestamptz not null,
    completed_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null
  );
  create index if not exists quiz_sessions_user_quiz_newest
    on quiz_sessions (user_id, quiz_id, created_at desc, id desc);
  create index if not exists quiz_sessions_user_newest on quiz_sessions (user_id, created_at desc, id desc);
  create index if not exists quiz_sessions_quiz_newest on quiz_sessions (quiz_id, created_at desc, id desc);
  create index if not exists quiz_sessions_newest on quiz_sessions (created_at desc, id desc);
  create index if not exists quiz_sessions_running_by_end on quiz_sessions (expires_at)
    where status = 'in_progress'`;

/** Connect to both stores, and make the table. */
export async function open() {
  await pool.query(SCHEMA);
  await redis.connect();
}

/** End the connections to both. */
export async function close() {
  await pool.end();
  await redis.close();
}

/** Return the session if it is held; where Redis fails, the database is asked. */
export async function held(id) {
  try {
    const text = await redis.get(`session:${id}`);
    return text && JSON.parse(text);
  } catch (error) {
    console.error("cache:", error.message);
    return null;
  }
}

/** Hold the session; a reader does not replace what a write may just have put there. */
export async function hold(session, { replace = true } = {}) {
  const options = { expiration: { type: "EX", value: TTL }, ...(replace ? {} : { condition: "NX" }) };
  try {
    await redis.set(`session:${session.id}`, JSON.stringify(session), options);
  } catch (error) {
    console.error("cache:", error.message);
  }
}
