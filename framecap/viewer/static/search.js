// The page of what was found by words, of all cameras or one, and between two days.

import { cameraChoice, dayAfter, dayChoice, dayStart } from './choose.js';
import { h, say } from './dom.js';
import { indexNote, row } from './hits.js';
import * as parts from './parts.js';
import { ask } from './server.js';

const FIRST = 40;
const MOST = 200;
const AGAIN = 3000; // milliseconds, while the index is being made

export function open(main, parameters, page) {
  const leaving = new AbortController();
  const words = parameters.get('q') ?? '';
  let [camera, from, to] = ['camera', 'from', 'to'].map((name) => parameters.get(name) ?? '');
  let limit = FIRST;
  let asking = new AbortController();
  let timer;
  const cameras = cameraChoice(camera, (value) => narrow({ camera: value }));
  const count = h('p', { class: 'found', role: 'status' });
  const note = h('div', {});
  const list = h('ol', { class: 'hits' });
  const more = h('button', { type: 'button', class: 'quiet', hidden: true, onclick: () => { limit = MOST; load(); } }, 'Show more');
  main.append(
    h('div', { class: 'bar-line' },
      h('h1', {}, words ? `“${words}”` : 'Search'),
      h('div', { class: 'narrow' }, cameras.element, h('label', {}, 'from ', dayChoice('From day', from, (value) => narrow({ from: value }))), h('label', {}, 'to ', dayChoice('To day', to, (value) => narrow({ to: value })))),
    ),
    h('div', { class: 'results' }, count, note, list, more),
  );

  function narrow(change) {
    ({ camera, from, to } = { camera, from, to, ...change });
    page.rewrite('/search', { q: words, camera, from, to });
    limit = FIRST;
    load();
  }

  /** Search; whatever was asked for until now is of no use then. */
  async function load() {
    clearTimeout(timer);
    asking.abort();
    asking = new AbortController();
    const signal = AbortSignal.any([leaving.signal, asking.signal]);
    if (!list.childElementCount) note.replaceChildren(parts.waiting('Searching'));
    try {
      const until = to && dayStart(to) !== null ? dayStart(dayAfter(to)) : null;
      const answer = await ask('/api/search', { q: words, camera, since: dayStart(from), until, limit }, signal);
      cameras.offer(answer.cameras);
      list.replaceChildren(...answer.hits.map((hit) => row(hit, { withDay: true, withCamera: true })));
      more.hidden = answer.hits.length < limit || !answer.more || limit === MOST;
      say(count, answer.hits.length ? `${answer.hits.length}${answer.more ? ' or more' : ''} found${words ? ', the best of the newest first' : ', the newest first'}` : '');
      note.replaceChildren(indexNote(answer.index));
      if (!answer.hits.length) note.append(nothing());
      if (!answer.index.whole) timer = setTimeout(load, AGAIN);
    } catch (error) {
      if (error.name !== 'AbortError') note.replaceChildren(parts.problem(error, load));
    }
  }

  function nothing() {
    return parts.empty(
      'Nothing found',
      h('span', {}, 'Every word must be in the caption, in any form: ', h('code', {}, 'dog'), ' finds dogs. ', h('code', {}, '"white dog"'), ' finds these words side by side, ', h('code', {}, 'runn*'), ' what begins so, ', h('code', {}, '-grass'), ' what is without it.'),
    );
  }

  let telling;
  load();
  return {
    title: words || 'Search',
    frames() {
      telling ??= setTimeout(() => {
        telling = undefined;
        if (scrollY < innerHeight) load();
      }, AGAIN);
    },
    close() {
      leaving.abort();
      clearTimeout(timer);
      clearTimeout(telling);
    },
  };
}
