// The page of a day: what a camera saw, interval by interval, the newest first, and the day's hours as a band above.

import { cameraChoice, dayAfter, dayChoice, dayOf, dayStart } from './choose.js';
import { h, wantsStillness } from './dom.js';
import { indexNote, interval, row } from './hits.js';
import * as parts from './parts.js';
import { ask } from './server.js';
import { day as dayName, minute, now, time } from './words.js';

const AGAIN = 3000; // milliseconds until a day that goes on is read again, and while the index is being made
const LIMIT = 100;
const GAP = 60; // seconds: a camera that says nothing for longer has stopped
const NARROWEST = 20; // seconds that the band shows at least

export function open(main, parameters, page) {
  const leaving = new AbortController();
  let camera = parameters.get('camera') ?? '';
  let day = dayStart(parameters.get('day')) === null ? null : parameters.get('day');
  if (!day && parameters.get('at')) day = dayOf(Number(parameters.get('at')));
  let hits = [];
  let before = null; // the place from which on earlier ones follow
  let asking = new AbortController();
  let loading = false;
  let paged = false; // whether earlier ones were asked for
  let timer;
  const cameras = cameraChoice(camera, (value) => choose({ camera: value }));
  const date = dayChoice('Day', day, (value) => value && choose({ day: value }));
  const step = (days, label, text) => h('button', { type: 'button', class: 'quiet', 'aria-label': label, onclick: () => day && choose({ day: dayAfter(day, days) }) }, text);
  const title = h('h1', {}, 'Timeline');
  const band = h('div', { class: 'band', hidden: true });
  const note = h('div', {});
  const list = h('ol', { class: 'hits' });
  const more = h('button', { type: 'button', class: 'quiet', hidden: true, onclick: () => load(before) }, 'Earlier');
  main.append(h('div', { class: 'bar-line' }, title, h('div', { class: 'narrow' }, cameras.element, h('span', { class: 'days' }, step(-1, 'The day before', '‹'), date, step(1, 'The day after', '›')))), band, h('div', { class: 'results' }, note, list, more));

  function choose(change) {
    ({ camera, day } = { camera, day, ...change });
    page.rewrite('/timeline', { camera, day });
    load();
  }

  /** The day, or with `from` the next part of it; whatever was asked for until now is of no use then. */
  async function load(from = null) {
    clearTimeout(timer);
    asking.abort();
    const ours = (asking = new AbortController());
    const signal = AbortSignal.any([leaving.signal, ours.signal]);
    loading = true;
    if (!list.childElementCount) note.replaceChildren(parts.waiting('Loading the day'));
    try {
      if (!day) day = await newestDay(signal);
      const [since, end] = [dayStart(day), dayStart(dayAfter(day))];
      const answer = await ask('/api/timeline', { camera, since, until: end, before: from, limit: LIMIT }, signal);
      cameras.offer(answer.cameras);
      paged = from !== null;
      hits = paged ? [...hits, ...answer.hits] : answer.hits;
      before = answer.before;
      date.value = day;
      title.textContent = dayName(since + 43200);
      const rows = answer.hits.map((hit) => row(hit, { withCamera: !camera }));
      if (paged) list.append(...rows);
      else list.replaceChildren(...rows);
      more.hidden = before === null;
      note.replaceChildren(indexNote(answer.index));
      if (!hits.length) note.append(await nothing(since, signal));
      drawBand();
      if (!answer.index.whole) timer = setTimeout(() => load(), AGAIN);
    } catch (error) {
      if (error.name !== 'AbortError') note.replaceChildren(parts.problem(error, () => load()));
    } finally {
      if (asking === ours) loading = false;
    }
  }

  /** The day of the newest caption, or today where there is none. */
  async function newestDay(signal) {
    const answer = await ask('/api/timeline', { camera, limit: 1 }, signal);
    return dayOf(answer.hits[0]?.end ?? now());
  }

  async function nothing(since, signal) {
    const answer = await ask('/api/timeline', { camera, until: since, limit: 1 }, signal);
    const last = answer.hits[0];
    const text = parts.empty('No captions on this day', camera ? `Of the camera ${camera}.` : 'Of no camera.');
    if (last) text.append(h('p', {}, h('button', { type: 'button', class: 'quiet', onclick: () => choose({ day: dayOf(last.end) }) }, `The last ones before: ${dayName(last.end)}`)));
    return text;
  }

  /** The time in which something was seen, and in it each interval; a press leads to it. */
  function drawBand() {
    band.hidden = !hits.length;
    if (!hits.length) return;
    const pieces = hits.map((hit, at) => ({ hit, until: goesOnUntil(hit, at) }));
    let [first, last] = [hits[hits.length - 1].start, Math.max(...pieces.map((piece) => piece.until))];
    const wider = Math.max((last - first) * 0.01, (NARROWEST - (last - first)) / 2);
    first -= wider;
    last += wider;
    const position = (seconds) => (seconds - first) / (last - first);
    const blocks = pieces.map(({ hit, until }) =>
      h('button', { type: 'button', tabindex: '-1', class: `block${hit.uncertain ? ' unsure' : ''}`, title: `${interval(hit)}  ${hit.caption}`, onclick: () => goTo(hit), '--from': position(hit.start), '--share': Math.max(0, position(until) - position(hit.start)) }),
    );
    const ticks = marks(first, last, band.clientWidth).map(([seconds, text]) => h('span', { class: 'tick', '--from': position(seconds) }, text));
    band.replaceChildren(h('div', { class: 'blocks', 'aria-hidden': 'true' }, blocks), h('div', { class: 'ticks', 'aria-hidden': 'true' }, ticks));
  }

  /** Of one camera, what it saw lasts until it saw something else. */
  function goesOnUntil(hit, at) {
    const next = camera && at > 0 ? hits[at - 1] : null;
    return next && next.start - hit.end <= GAP ? next.start : hit.end;
  }

  function goTo(hit) {
    const target = list.querySelector(`[data-start="${hit.start}"] a`);
    target?.scrollIntoView({ block: 'center', behavior: wantsStillness() ? 'auto' : 'smooth' });
    target?.focus({ preventScroll: true });
  }

  load();
  return {
    title: 'Timeline',
    frames(frames) {
      const concerns = frames.some((shown) => (!camera || shown.camera === camera) && dayOf(shown.captured_at) === day);
      if (!concerns || loading || paged) return;
      clearTimeout(timer);
      timer = setTimeout(() => load(), AGAIN);
    },
    close() {
      leaving.abort();
      clearTimeout(timer);
    },
  };
}

const STEPS = [5, 10, 15, 30, 60, 300, 600, 1800, 3600, 10800, 21600]; // seconds between two marks of the band

/** Round times of the band, as many as have room on it. */
function marks(first, last, width) {
  const most = Math.max(2, width / 110);
  const step = STEPS.find((seconds) => (last - first) / seconds <= most) ?? 21600;
  const midnight = new Date(first * 1000).setHours(0, 0, 0, 0) / 1000;
  const found = [];
  for (let at = midnight + Math.ceil((first - midnight) / step) * step; at < last; at += step) {
    const share = (at - first) / (last - first);
    if (share > 0.03 && share < 0.97) found.push([at, step < 60 ? time(at) : minute(at)]);
  }
  return found;
}
