// Starts the service that an Express developer would write for the same contract, to compare ours with.
//
// Left out, which is less work than ours does: Idempotency-Key, ETag and conditional requests with their
// Cache-Control, Prefer, `if_active`, 503 when PostgreSQL is down (but at /health), the limits on all answers
// of a session. What is not JSON is 400, not 415; an unknown method is 404, not 405; a cursor is the id of
// the page's last session.
import { app } from "./app.js";
import { expire } from "./sessions.js";
import { close, open } from "./stores.js";

const { HOST = "127.0.0.1", PORT = "3007" } = process.env;
const SWEEP_PAUSE = 2000; // milliseconds

await open();
const server = app.listen(Number(PORT), HOST, (error) => {
  if (error) throw error;
  console.log(`Running on http://${HOST}:${PORT}`);
});
const sweeper = setInterval(
  () => expire().catch((error) => console.error("sessions were not expired:", error.message)),
  SWEEP_PAUSE,
);

for (const signal of ["SIGTERM", "SIGINT"]) {
  process.once(signal, () => {
    clearInterval(sweeper);
    server.close(close);
  });
}
