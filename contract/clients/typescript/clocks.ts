/** Clocks: the service's time on this device, and a logical clock for the order of answers. */

/** Two clocks, in milliseconds: one that cannot be set, and the device's date, which runs during sleep. */
export type Clocks = { steady: number; date: number };
/** The service's time of a reply, in milliseconds, and the clocks when its request was sent. */
export type ServiceTime = { now: number; at: Clocks };

const TICK = 0.001; // milliseconds between two answers of one millisecond

export const readClocks = (): Clocks => ({ steady: performance.now(), date: Date.now() });

/** Returns the milliseconds since the clocks were read, never too few: the date may be set, the other one stops in sleep. */
export function since({ steady, date }: Clocks): number {
  const now = readClocks();
  return Math.max(now.steady - steady, now.date - date);
}

/** Returns the seconds until a time of the service, at least 0 and never too many; Infinity for null. */
export function secondsUntil(time: string | null, { now, at }: ServiceTime): number {
  if (time === null) return Infinity;
  return Math.max(0, (Date.parse(time) - now - since(at)) / 1000);
}

/** A hybrid logical clock: the device's date in milliseconds, but later than each time that it has seen. */
export class LogicalClock {
  latest = 0;

  next(): number {
    return (this.latest = Math.max(this.latest + TICK, Date.now()));
  }

  observe(time: number): void {
    if (time > this.latest) this.latest = time;
  }
}
