// Numbers in, what a person reads out. Times are Unix seconds, shown in the reader's own time zone.

let ahead = 0; // seconds that the server's clock is ahead of ours

/** Each answer of the server says what time it has. */
export function hearClock(now) {
  if (typeof now === 'number') ahead = now - Date.now() / 1000;
}

export const now = () => Date.now() / 1000 + ahead;

const numbers = new Intl.NumberFormat();
const compact = new Intl.NumberFormat(undefined, { notation: 'compact', maximumFractionDigits: 1 });
const timeOfDay = new Intl.DateTimeFormat(undefined, { hour: 'numeric', minute: '2-digit', second: '2-digit' });
const shortTime = new Intl.DateTimeFormat(undefined, { hour: 'numeric', minute: '2-digit' });
const wholeDay = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' });
const shortDay = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', year: 'numeric' });

export const count = (value) => numbers.format(value);
export const roughly = (value) => (value < 10000 ? numbers.format(value) : compact.format(value));
export const frames = (value) => `${count(value)} ${value === 1 ? 'frame' : 'frames'}`;
export const time = (seconds) => timeOfDay.format(seconds * 1000);
export const minute = (seconds) => shortTime.format(seconds * 1000);
export const times = (first, last) => timeOfDay.formatRange(first * 1000, last * 1000);
export const dayShort = (seconds) => shortDay.format(seconds * 1000);
export const day = (seconds) => wholeDay.format(seconds * 1000);
export const percent = (share) => `${Math.round(share * 100)} %`;

/** The day and time, short: today's without the day. */
export function moment(seconds) {
  const date = new Date(seconds * 1000);
  const today = date.toDateString() === new Date().toDateString();
  return today ? timeOfDay.format(date) : `${shortDay.format(date)}, ${shortTime.format(date)}`;
}

const STEPS = [
  [90, 1, 's'],
  [90 * 60, 60, 'min'],
  [36 * 3600, 3600, 'h'],
  [Infinity, 86400, 'days'],
];

/** How long: 12 s, 5 min, 3 h, 9 days. */
export function long(seconds) {
  const whole = Math.max(0, seconds);
  const [, unit, name] = STEPS.find(([most]) => whole < most);
  return `${count(Math.round(whole / unit))} ${name}`;
}

/** How long ago: just now, 12 s ago. */
export function age(seconds) {
  const passed = now() - seconds;
  return passed < 2 ? 'just now' : `${long(passed)} ago`;
}

/** A place in a recording: 0:00:07 or 0:00:07.5 */
export function clock(position) {
  const tenths = Math.round(position * 10);
  const [h, m, s] = [Math.floor(tenths / 36000), Math.floor(tenths / 600) % 60, (tenths % 600) / 10];
  return `${h}:${String(m).padStart(2, '0')}:${tenths % 10 ? s.toFixed(1).padStart(4, '0') : String(s).padStart(2, '0')}`;
}

export const bytes = (size) => (size < 1e6 ? `${Math.round(size / 1e3)} kB` : `${(size / 1e6).toFixed(1)} MB`);

export function milliseconds(value) {
  return value < 1000 ? `${value < 10 ? value.toFixed(1) : Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`;
}
