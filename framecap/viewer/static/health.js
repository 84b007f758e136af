// The page of what is pending and what has failed, and the button that has it done again.

import { h, say, set } from './dom.js';
import * as parts from './parts.js';
import { ask, framePage, retry } from './server.js';
import { age, count, frames, long, now } from './words.js';

const SOON = 1500; // milliseconds until what failed is looked up again

export function open(main, parameters, page) {
  const leaving = new AbortController();
  const kind = parameters.get('kind') ?? '';
  const numbers = { pending: number('pending'), oldest: number('oldest pending'), done: number('done'), failed: number('failed') };
  const failure = h('div', {});
  const progress = h('p', { class: 'progress', role: 'status' });
  const again = h('button', { type: 'button', onclick: () => start(kind) }, 'Retry all failed frames');
  const kinds = h('ul', { class: 'kinds' });
  const list = h('ol', { class: 'failed' });
  const more = h('button', { type: 'button', class: 'quiet', hidden: true, onclick: () => load(false) }, 'More');
  const failed = h('section', { hidden: true }, h('div', { class: 'bar-line' }, h('h2', {}, 'Failed frames'), again), progress, kinds, list, more);
  const fine = h('div', { hidden: true }, parts.empty('No frame has failed', 'Frames that cannot be captioned are listed here, with the reason.'));
  const address = h('p', { class: 'address' });
  main.append(h('h1', {}, 'Health'), failure, h('dl', { class: 'numbers' }, Object.values(numbers).map((one) => one.element)), failed, fine, address);
  let before = null;
  let health = null;
  let timer;

  function hear(next) {
    const ended = health?.retry.running && !next.retry.running;
    health = next;
    numbers.pending.show(next.pending === null ? '…' : `${count(next.pending)}${next.at_least ? '+' : ''}`);
    numbers.oldest.show(next.oldest === null ? '–' : long(now() - next.oldest), next.oldest !== null && now() - next.oldest > 300);
    numbers.done.show(next.done === null ? '…' : count(next.done));
    numbers.failed.show(next.failed === null ? '…' : count(next.failed), next.failed > 0);
    failure.replaceChildren(...(next.failure ? [parts.problem({ message: `The store cannot be read now: ${next.failure}. It is tried again.` })] : []));
    say(address, `Frames in ${next.address}${next.listed_at ? `, counted ${age(next.listed_at)}` : ''}.`);
    tell(next.retry);
    if (ended || next.failed !== shownFailed) soon();
  }

  function tell({ running, done, captioned, failure: why }) {
    set(again, { disabled: running });
    const outcome = `${frames(done)} done again, ${count(captioned)} of them captioned`;
    say(progress, running ? `Retrying: ${outcome} so far.` : why ? `The retry ended early: ${why}` : done ? `The retry has ended: ${outcome}.` : '');
  }

  async function start(which) {
    set(again, { disabled: true });
    try {
      await retry(which);
    } catch (error) {
      say(progress, error.status === 409 ? 'A retry is under way already.' : error.message);
      set(again, { disabled: false });
    }
  }

  let shownFailed = null;
  function soon() {
    timer ??= setTimeout(() => load(true), shownFailed === null ? 0 : SOON);
  }

  async function load(anew) {
    timer = undefined;
    try {
      const answer = await ask('/api/failed', { kind, before: anew ? '' : before }, leaving.signal);
      shownFailed = answer.failed;
      before = answer.before;
      more.hidden = !before;
      const rows = answer.frames.map(row);
      if (anew) list.replaceChildren(...rows);
      else list.append(...rows);
      kinds.replaceChildren(...answer.kinds.map((one) => kindItem(one, kind)));
      failed.hidden = !answer.failed && !health?.retry.done;
      fine.hidden = answer.failed > 0;
      say(again, kind ? `Retry those that are ${kind}` : 'Retry all failed frames');
      again.hidden = !answer.failed;
    } catch (error) {
      if (error.name !== 'AbortError') failure.replaceChildren(parts.problem(error, () => load(true)));
    }
  }

  if (page.health) hear(page.health);
  soon();
  return {
    title: 'Health',
    health: hear,
    close() {
      leaving.abort();
      clearTimeout(timer);
    },
  };
}

function number(name) {
  const value = h('dd', {}, '…');
  return {
    element: h('div', {}, h('dt', {}, name), value),
    show(text, alarming = false) {
      say(value, text);
      value.classList.toggle('alarming', alarming);
    },
  };
}

function kindItem({ kind, frames: number }, chosen) {
  const isChosen = kind === chosen;
  return h('li', {}, h('a', { href: isChosen ? '/health' : `/health?${new URLSearchParams({ kind })}`, 'aria-current': isChosen ? 'true' : null }, kind, h('span', {}, count(number))));
}

function row(shown) {
  return h(
    'li',
    {},
    h('a', { href: framePage(shown.key) }, parts.thumbnail(shown), h('span', { class: 'failed-text' }, h('span', { class: 'reason' }, h('b', {}, shown.kind), ` ${shown.reason}`), h('span', { class: 'meta' }, h('span', { class: 'camera' }, shown.camera), parts.when(shown), h('code', {}, shown.key.split('/').pop())))),
  );
}
