// What was found (an interval in which a camera's captions say the same) in, the row that shows it out.

import { h } from './dom.js';
import * as parts from './parts.js';
import { framePage, small } from './server.js';
import { clock, count, dayShort, frames, long, time, times } from './words.js';

/** The time of a hit, from its first frame to its last. */
export const interval = (hit) => (hit.end > hit.start ? times(hit.start, hit.end) : time(hit.start));

export function row(hit, { withDay = false, withCamera = false } = {}) {
  const shown = { ...hit, status: 'captioned', mark: '' };
  const image = h('img', { class: 'photo', loading: 'lazy', decoding: 'async', src: small(shown), alt: parts.alternative(shown) });
  const box = h('span', { class: 'photo-box' }, image);
  image.addEventListener('error', () => box.classList.add('unshown'));
  const caption = h('span', { class: `caption${hit.uncertain ? ' unsure' : ''}`, 'aria-hidden': 'true' }, hit.parts.map(([text, wanted]) => (wanted ? h('mark', {}, text) : text)));
  return h(
    'li',
    { class: 'hit', 'data-start': hit.start },
    h(
      'a',
      { href: framePage(hit.key) },
      h('span', { class: 'hit-time' }, withDay && h('span', {}, dayShort(hit.start)), h('time', { datetime: new Date(hit.start * 1000).toISOString() }, interval(hit)), h('span', { class: 'hit-long' }, duration(hit))),
      box,
      h('span', { class: 'hit-text' }, caption, h('span', { class: 'meta' }, withCamera && h('span', { class: 'camera' }, hit.camera), hit.position !== null && h('span', {}, `at ${clock(hit.position)}`), parts.sureness(hit))),
    ),
  );
}

function duration(hit) {
  if (hit.frames === 1) return '1 frame';
  return `${long(hit.end - hit.start)}, ${frames(hit.frames)}`;
}

/** What stands above the hits while not everything can be found yet. */
export function indexNote(index) {
  if (index.failure) return parts.problem({ message: `Not everything can be found now: ${index.failure}` });
  if (!index.whole) return h('p', { class: 'note', role: 'status' }, h('span', { class: 'spinner', 'aria-hidden': 'true' }), `Reading the captions of the store: ${count(index.read)} so far. What is not read yet is not found.`);
  return '';
}
