/* Clock: the service's time, carried on by the monotonic clock of this device. */

let offset = null;

/** Note `session-now` of a reply, and the moments of its request and its arrival. */
export function setClock(header, sent, received) {
  const time = Date.parse(header);
  if (Number.isNaN(time)) return;
  // The service read its clock between the two moments.
  const least = time - received;
  const most = time - sent;
  offset = offset === null ? least : Math.min(Math.max(offset, least), most);
}

/** The service's time in milliseconds; that of this device until the first reply. */
export const now = () => (offset === null ? Date.now() : offset + performance.now());
