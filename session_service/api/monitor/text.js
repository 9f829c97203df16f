/* Wording: numbers, durations and times for people. */

const CLOCK = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const short = new Intl.DateTimeFormat([], CLOCK);
const precise = new Intl.DateTimeFormat([], { ...CLOCK, second: "2-digit" });
const dated = new Intl.DateTimeFormat([], { ...CLOCK, day: "numeric", month: "short" });
const counted = new Intl.NumberFormat("en");

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

export const number = (value) => counted.format(value);
export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;
export const timeOf = (ms) => short.format(ms);
export const preciseTimeOf = (ms) => precise.format(ms);
export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** Time of day, with the date if it is more than half a day away. */
export const momentOf = (ms, now) => (Math.abs(ms - now) < 12 * HOUR ? short.format(ms) : dated.format(ms));

const two = (value) => String(value).padStart(2, "0");

/** A duration in hours and minutes; below ten minutes with seconds. */
export function duration(ms) {
  const seconds = Math.max(0, Math.floor(ms / SECOND));
  if (seconds < 600) return `${Math.floor(seconds / 60)}:${two(seconds % 60)}`;
  return plainDuration(ms);
}

/** A duration in hours and minutes. */
export function plainDuration(ms) {
  const minutes = Math.floor(ms / MINUTE);
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
  return plural(Math.floor(minutes / 60 / 24), "day");
}

/** The time since a moment, in steps that change seldom. */
export function ago(ms) {
  if (ms < 10 * SECOND) return "just now";
  if (ms < MINUTE) return `${Math.floor(ms / 10 / SECOND) * 10} s ago`;
  if (ms < HOUR) return `${Math.floor(ms / MINUTE)} min ago`;
  if (ms < 24 * HOUR) return `${Math.floor(ms / HOUR)} h ${two(Math.floor((ms % HOUR) / MINUTE))} min ago`;
  return `${plural(Math.floor(ms / 24 / HOUR), "day")} ago`;
}

/** The time zone of this device, with its offset at a moment. */
export function zoneAt(ms) {
  const parts = new Intl.DateTimeFormat("en", { timeZoneName: "longOffset" }).formatToParts(ms);
  const offset = parts.find((part) => part.type === "timeZoneName").value;
  return `${Intl.DateTimeFormat().resolvedOptions().timeZone} (${offset})`;
}

/** The value of an input of type datetime-local for a moment, in the zone of this device. */
export function localInput(ms) {
  const date = new Date(ms);
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day}T${two(date.getHours())}:${two(date.getMinutes())}`;
}
