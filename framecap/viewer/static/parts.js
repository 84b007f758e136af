// One frame of a list in, the elements that show it out; and what stands where there is nothing to show.

import { h, icon, say } from './dom.js';
import { framePage, small } from './server.js';
import { age, clock, moment, percent } from './words.js';

const STATUS = { failed: 'failed', skipped: 'skipped' };

/** What a frame's image shows, in words. */
export function alternative(shown) {
  if (shown.caption) return shown.uncertain ? `Perhaps: ${shown.caption}` : shown.caption;
  return `Frame of ${shown.camera}, without a caption: ${shown.reason ?? shown.status}`;
}

/** The small image; where it cannot be shown, a note in its place. */
export function thumbnail(shown, eager = false) {
  const image = h('img', { class: 'photo', loading: eager ? 'eager' : 'lazy', decoding: 'async' });
  image.addEventListener('error', () => image.parentElement?.classList.add('unshown'));
  image.addEventListener('load', () => image.parentElement?.classList.remove('unshown'));
  const box = h('span', { class: 'photo-box' }, image, h('span', { class: 'no-photo', 'aria-hidden': 'true' }, icon('M3 4.500h14v11H3zM3 13l4-4 3 3 2-2 5 4.500M4 17 16 3')));
  showIn(image, shown);
  return box;
}

export function showIn(image, shown) {
  const address = small(shown);
  if (image.getAttribute('src') !== address) image.src = address;
  image.alt = alternative(shown);
}

/** The caption as text; a frame without one says why. Beside its image, whose alternative text says the same, it is not
    read out a second time. */
export function caption(shown, tag = 'p', beside = true) {
  const element = h(tag, { class: 'caption', 'aria-hidden': beside ? 'true' : null });
  captionIn(element, shown);
  return element;
}

export function captionIn(element, shown) {
  element.classList.toggle('unsure', Boolean(shown.uncertain));
  element.classList.toggle('none', !shown.caption);
  say(element, shown.caption ?? (shown.reason ? `${STATUS[shown.status] ?? shown.status}: ${shown.reason}` : shown.status));
}

/** How sure the model is: a bar and a number. */
export function sureness(shown) {
  const element = h('span', { class: 'sure' }, h('span', { class: 'bar', 'aria-hidden': 'true' }), h('span', { class: 'sure-text' }));
  surenessIn(element, shown);
  return element;
}

export function surenessIn(element, shown) {
  element.hidden = shown.confidence === null || shown.confidence === undefined;
  if (element.hidden) return;
  element.classList.toggle('unsure', Boolean(shown.uncertain));
  element.style.setProperty('--share', shown.confidence);
  element.title = shown.uncertain ? 'The model is not sure of this caption' : 'How probable it is that the caption fits';
  say(element.lastElementChild, shown.uncertain ? `unsure, ${percent(shown.confidence)}` : percent(shown.confidence));
}

/** When: the age of a live frame, the place in a recording otherwise. */
export function when(shown) {
  const element = h('time', { class: 'when' });
  whenIn(element, shown);
  return element;
}

export function whenIn(element, shown) {
  element.dateTime = new Date(shown.captured_at * 1000).toISOString();
  element.title = moment(shown.captured_at);
  if (shown.position === null) {
    element.dataset.since = shown.captured_at;
    say(element, age(shown.captured_at));
  } else {
    delete element.dataset.since;
    say(element, `at ${clock(shown.position)}`);
  }
}

/** Ages grow: called every second. */
export function growOlder(root) {
  for (const element of root.querySelectorAll('time[data-since]')) say(element, age(Number(element.dataset.since)));
}

/** A frame in a strip or a list of results. */
export function tile(shown) {
  return h(
    'a',
    { class: 'tile', href: framePage(shown.key), 'data-key': shown.key },
    thumbnail(shown),
    h('span', { class: 'tile-text' }, caption(shown, 'span'), h('span', { class: 'meta' }, h('span', { class: 'camera' }, shown.camera), when(shown), sureness(shown))),
  );
}

export function empty(title, ...text) {
  return h('div', { class: 'empty' }, h('h2', {}, title), ...text.map((one) => h('p', {}, one)));
}

export function waiting(text = 'Loading') {
  return h('p', { class: 'waiting', role: 'status' }, h('span', { class: 'spinner', 'aria-hidden': 'true' }), text);
}

export function problem(error, again) {
  return h(
    'div',
    { class: 'problem', role: 'alert' },
    h('p', {}, error.message),
    again && h('button', { type: 'button', onclick: again }, 'Try again'),
  );
}
