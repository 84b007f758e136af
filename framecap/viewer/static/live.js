// The first page: the newest frame of each camera, and a strip of what came last.

import { h, say, set, wantsStillness } from './dom.js';
import * as parts from './parts.js';
import { ask, framePage, timelinePage } from './server.js';
import { frames as howMany, count } from './words.js';

const STRIP = 24;
const MANY = 8; // cameras, from which on a box to filter them by name is of use
const TYPING = 200; // milliseconds

export function open(main, parameters, page) {
  const leaving = new AbortController();
  const cards = new Map(); // camera → card
  const containing = parameters.get('cameras') ?? '';
  let total = 0;
  let paused = false;
  let waiting = []; // frames that came while it was paused
  let loading = false;

  const filter = h('input', { type: 'search', placeholder: 'Filter by name', 'aria-label': 'Filter the cameras by name', value: containing, maxlength: 80, autocomplete: 'off' });
  const heading = h('h2', { id: 'cameras-title' }, 'Cameras');
  const pause = h('button', { type: 'button', class: 'quiet', 'aria-pressed': 'false', onclick: () => setPaused(!paused) }, 'Pause');
  const strip = h('ol', { class: 'strip', tabindex: '0', 'aria-labelledby': 'last-title' });
  const grid = h('ul', { class: 'grid', 'aria-labelledby': 'cameras-title' });
  const more = h('div', { class: 'more' });
  const note = h('div', {}, parts.waiting('Looking through the store'));
  const last = h('section', { class: 'last', hidden: true }, h('div', { class: 'bar-line' }, h('h2', { id: 'last-title' }, 'Just captioned'), pause), strip);
  const cameras = h('section', { hidden: true }, h('div', { class: 'bar-line' }, heading, filter), grid, more);
  main.append(h('h1', { class: 'unseen' }, 'Live'), note, cameras, last);
  filter.hidden = !containing;

  let typing;
  filter.addEventListener('input', () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      page.rewrite('/', { cameras: filter.value.trim() });
      load(true);
    }, TYPING);
  });

  const reached = new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && load(false), { rootMargin: '600px' });
  reached.observe(more);

  async function load(anew) {
    if (loading && !anew) return;
    loading = true;
    try {
      const names = [...cards.keys()];
      const after = anew ? '' : names[names.length - 1];
      const answer = await ask('/api/cameras', { after, containing: filter.value.trim() }, leaving.signal);
      total = answer.total;
      if (anew) {
        cards.clear();
        grid.replaceChildren();
      }
      for (const shown of answer.cameras) addCard(shown);
      arrange();
    } catch (error) {
      if (error.name !== 'AbortError') note.replaceChildren(parts.problem(error, () => load(true)));
    } finally {
      loading = false;
    }
    if (cards.size < total && more.getBoundingClientRect().top < innerHeight + 600 && !leaving.signal.aborted) load(false);
  }

  function arrange() {
    cameras.hidden = !total && !filter.value;
    last.hidden = !strip.childElementCount;
    grid.classList.toggle('single', total === 1);
    filter.hidden = total < MANY && !filter.value;
    say(heading, total === 1 ? 'Newest frame' : `${count(total)} cameras`);
    say(more, cards.size < total ? `${count(total - cards.size)} more` : '');
    if (total) note.replaceChildren();
    else if (filter.value) note.replaceChildren(parts.empty('No camera of that name', 'The filter looks for a part of the name.'));
    else note.replaceChildren(nothingYet(page.health));
  }

  function addCard(shown) {
    const card = makeCard(shown);
    cards.set(shown.camera, card);
    grid.append(card.element);
  }

  function show(shown) {
    const card = cards.get(shown.camera);
    if (card) card.show(shown);
    showInStrip(shown, true);
  }

  function showInStrip(shown, isNew) {
    strip.querySelector(`[data-key="${CSS.escape(shown.key)}"]`)?.closest('li').remove();
    const item = h('li', {}, parts.tile(shown));
    if (isNew && !wantsStillness()) item.classList.add('arriving');
    strip.prepend(item);
    while (strip.childElementCount > STRIP) strip.lastElementChild.remove();
  }

  function setPaused(value) {
    paused = value;
    set(pause, { 'aria-pressed': String(paused) });
    say(pause, paused ? 'Resume' : 'Pause');
    if (!paused) {
      hear(waiting, false);
      waiting = [];
    }
  }

  let catchingUp;
  function hear(frames, missed) {
    if (paused) {
      waiting = [...waiting, ...frames].slice(-500);
      say(pause, `Resume (${howMany(waiting.length)})`);
      return;
    }
    for (const shown of frames) show(shown);
    last.hidden = !strip.childElementCount;
    const unknown = frames.some((shown) => !cards.has(shown.camera));
    const mayBelong = cards.size >= total || total === 0;
    if (missed || (unknown && (mayBelong || !filter.value))) {
      clearTimeout(catchingUp);
      catchingUp = setTimeout(refresh, 600);
    }
  }

  /** The cameras that are shown, once more: one is new, or there was more news than could wait. */
  async function refresh() {
    const shownNow = Math.max(cards.size, 60);
    try {
      const answer = await ask('/api/cameras', { containing: filter.value.trim(), limit: Math.min(shownNow + 1, 200) }, leaving.signal);
      total = answer.total;
      let before = null;
      for (const shown of answer.cameras) {
        let card = cards.get(shown.camera);
        if (card) card.show(shown);
        else {
          card = makeCard(shown);
          cards.set(shown.camera, card);
          if (before) before.element.after(card.element);
          else grid.prepend(card.element);
        }
        before = card;
      }
      const order = [...cards].sort(([a], [b]) => (a < b ? -1 : 1));
      cards.clear();
      for (const [camera, card] of order) cards.set(camera, card);
      arrange();
    } catch (error) {
      if (error.name !== 'AbortError') page.announce(error.message);
    }
  }

  ask('/api/last', {}, leaving.signal)
    .then((answer) => {
      for (const shown of answer.frames.slice(0, STRIP).reverse()) showInStrip(shown, false);
      last.hidden = !strip.childElementCount;
    })
    .catch(() => {});
  load(true);

  return {
    title: 'Live',
    frames: hear,
    health: () => total || arrange(),
    close() {
      leaving.abort();
      reached.disconnect();
      clearTimeout(typing);
      clearTimeout(catchingUp);
    },
  };
}

/** A frame of the future (a clock was wrong) is as old as its commit. */
const time = (shown) => Math.min(shown.captured_at, shown.committed_at);

function makeCard(shown) {
  const box = parts.thumbnail(shown);
  const image = box.querySelector('img');
  const text = parts.caption(shown);
  const sure = parts.sureness(shown);
  const at = parts.when(shown);
  const link = h('a', { class: 'card-link', href: framePage(shown.key) }, box, text);
  const element = h(
    'li',
    { class: 'card', 'data-camera': shown.camera },
    link,
    h('p', { class: 'meta' }, h('a', { class: 'camera', href: timelinePage(shown.camera, shown.captured_at) }, shown.camera), at, sure),
  );
  let newest = shown;

  function show(next) {
    if (time(next) < time(newest) || (next.key === newest.key && next.committed_at === newest.committed_at)) return;
    newest = next;
    link.href = framePage(next.key);
    parts.showIn(image, next);
    parts.captionIn(text, next);
    parts.surenessIn(sure, next);
    parts.whenIn(at, next);
    if (!wantsStillness() && element.checkVisibility?.({ contentVisibilityAuto: true }) !== false) {
      element.classList.remove('fresh');
      requestAnimationFrame(() => element.classList.add('fresh'));
    }
  }
  return { element, show };
}

function nothingYet(health) {
  if (health?.failure) return parts.problem({ message: `The store cannot be read now: ${health.failure}. It is tried again.` });
  if (health?.pending) return parts.empty(`${howMany(health.pending)} waiting for a caption`, 'They appear here as a worker captions them: framecap work, or framecap run.');
  return parts.empty('Nothing here yet', 'Frames appear here as soon as they are captioned.', h('span', {}, 'In another terminal: ', h('code', {}, 'framecap run video.mp4')));
}
