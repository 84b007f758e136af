// The page of one frame: the image, where the model looked for each word, and everything its sidecar says.

import { lookAt } from './attention.js';
import { h, set } from './dom.js';
import * as parts from './parts.js';
import { ask, framePage, imageAddress, sidecar as sidecarAddress, small, timelinePage } from './server.js';
import { bytes, clock, day, milliseconds, moment, percent, time } from './words.js';

const STAGES = { read: 'reading', decode: 'decoding', wait: 'waiting for its batch', caption: 'the model, the whole batch' };

export function open(main, parameters, page) {
  const leaving = new AbortController();
  const key = parameters.get('key') ?? '';
  let neighbours = {};
  const note = h('div', {}, parts.waiting('Loading the frame'));
  main.append(note);

  async function load() {
    note.replaceChildren(parts.waiting('Loading the frame'));
    try {
      const answer = await ask('/api/frame', { key }, leaving.signal);
      note.remove();
      show(answer);
    } catch (error) {
      if (error.name !== 'AbortError') note.replaceChildren(parts.problem(error, load));
    }
  }

  function show({ shown, sidecar, ...rest }) {
    neighbours = rest;
    page.setTitle(shown.caption ?? 'Frame');
    const image = h('img', { class: 'whole', src: sidecar.error ? small(shown) : imageAddress(shown.key, shown.mark), alt: parts.alternative(shown) });
    if (sidecar.frame.width) set(image, { width: sidecar.frame.width, height: sidecar.frame.height });
    const aspect = sidecar.frame.width ? sidecar.frame.width / sidecar.frame.height : 4 / 3;
    const stage = h('div', { class: `stage${sidecar.error ? ' failed' : ''}`, '--aspect': aspect }, image);
    image.addEventListener('error', () => stage.replaceChildren(h('p', { class: 'no-whole' }, 'This image cannot be shown.')));
    const said = h('div', { class: 'said' });
    main.append(
      h('article', { class: 'frame' }, h('div', { class: 'frame-main' }, stage, said, around(shown)), h('div', { class: 'frame-side' }, facts(shown, sidecar))),
    );
    lookAt({ stage, said, shown, sidecar, signal: leaving.signal, page });
  }

  function around(shown) {
    const link = (to, text, label, rel) => (to ? h('a', { class: 'step', href: framePage(to), rel, 'aria-label': label }, text) : h('span', { class: 'step', 'aria-hidden': 'true' }));
    return h(
      'nav',
      { class: 'around', 'aria-label': 'Frames of this camera' },
      link(neighbours.previous, '← earlier', 'The frame before this one', 'prev'),
      h('a', { class: 'step', href: timelinePage(shown.camera, shown.captured_at) }, 'in the timeline'),
      link(neighbours.next, 'later →', 'The frame after this one', 'next'),
    );
  }

  function onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest?.('input, .words')) return;
    const to = { ArrowLeft: neighbours.previous, ArrowRight: neighbours.next }[event.key];
    if (to) page.go(framePage(to));
  }
  document.addEventListener('keydown', onKey);
  load();

  return {
    title: 'Frame',
    close() {
      leaving.abort();
      document.removeEventListener('keydown', onKey);
    },
  };
}

function facts(shown, sidecar) {
  const { frame, model, worker, error } = sidecar;
  return [
    h('h1', { class: 'frame-title' }, h('a', { href: timelinePage(shown.camera, shown.captured_at) }, shown.camera), h('small', {}, frame.position === null ? `${day(shown.captured_at)}, ${time(shown.captured_at)}` : `${clock(frame.position)} into the recording`)),
    sidecar.steady_caption && sidecar.steady_caption !== sidecar.caption && section('Shown for this scene', h('p', { class: 'caption' }, sidecar.steady_caption), h('p', { class: 'hint' }, 'The last frame’s caption fits this one nearly as well as its own, and stays.')),
    sidecar.alternatives.length > 0 && section('It could also be', h('ul', { class: 'alternatives' }, sidecar.alternatives.map(alternative))),
    error && section('Why it has no caption', h('p', { class: 'reason' }, h('b', {}, error.kind), ` after ${error.attempts} ${error.attempts === 1 ? 'try' : 'tries'}: ${error.message}`), h('p', {}, h('a', { href: '/health' }, 'Failed frames can be tried again.'))),
    sidecar.duplicate_of && section('A near-duplicate', h('p', {}, 'It has the caption of ', h('a', { href: framePage(sidecar.duplicate_of) }, 'an earlier frame'), ', which it resembles.')),
    sidecar.timings && section('Where the time went', timings(sidecar.timings)),
    section(
      'The frame',
      list([
        ['captured', moment(shown.captured_at)],
        ['captioned', moment(shown.committed_at)],
        ['image', [frame.width && `${frame.width} × ${frame.height}`, frame.size && bytes(frame.size)].filter(Boolean).join(', ')],
        ['number', frame.sequence],
        ['model', model && `${model.name} (${model.bundle.slice(0, 12)})`],
        ['runtime', model?.runtime],
        ['worker', worker && `${worker.host}, framecap ${worker.version}`],
        ['warnings', sidecar.warnings.join('; ')],
        ['key', h('code', {}, frame.key)],
        ['sha256', frame.sha256 && h('code', {}, frame.sha256)],
      ]),
      h('p', { class: 'links' }, h('a', { href: imageAddress(frame.key, shown.mark) }, 'Image'), h('a', { href: sidecarAddress(frame.key) }, 'Sidecar (JSON)')),
    ),
  ];
}

function section(title, ...children) {
  return h('section', { class: 'facts' }, h('h2', {}, title), children);
}

function list(rows) {
  const there = rows.filter(([, value]) => value !== null && value !== undefined && value !== '');
  return h('dl', {}, there.map(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));
}

function alternative({ caption, confidence }) {
  return h('li', {}, h('span', { class: 'caption' }, caption), h('span', { class: 'sure', '--share': confidence }, h('span', { class: 'bar', 'aria-hidden': 'true' }), percent(confidence)));
}

function timings(spent) {
  const whole = Object.keys(STAGES).reduce((sum, name) => sum + spent[name], 0) || 1;
  return [
    h('div', { class: 'spent', 'aria-hidden': 'true' }, Object.keys(STAGES).map((name) => h('span', { class: `spent-${name}`, '--share': spent[name] / whole }))),
    h('dl', { class: 'spent-names' }, Object.entries(STAGES).map(([name, text]) => [h('dt', { class: `spent-${name}` }, text), h('dd', {}, milliseconds(spent[name]))]), h('dt', {}, 'from lease to commit'), h('dd', {}, milliseconds(spent.total))),
  ];
}
