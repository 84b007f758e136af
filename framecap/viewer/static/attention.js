// The words of a caption, each of which shows where the model looked for it: as light and warmth over the image.

import { h, icon, say, set, wantsStillness } from './dom.js';
import * as parts from './parts.js';
import { ask } from './server.js';
import { percent } from './words.js';

const OCTAVES = 1.5; // a place is fully lit or dark when it gets 2 ** this times more or less than an even share
const DARKEST = 0.82; // of the shade over a place that it did not look at
const STEP = 900; // milliseconds of a word, when they are shown one after the other

/** The caption below the image; its words wake up when the model has said where it looked. */
export function lookAt({ stage, said, shown, sidecar, signal, page }) {
  const line = parts.caption({ ...shown, caption: sidecar.caption }, 'p', false);
  line.classList.add('large');
  const foot = h('div', { class: 'said-foot' }, parts.sureness(shown), sidecar.truncated && h('span', { class: 'tag' }, 'cut short'));
  said.append(line, foot);
  if (!shown.caption) return;
  const hint = h('p', { class: 'hint', role: 'status' }, h('span', { class: 'spinner', 'aria-hidden': 'true' }), 'Asking the model where it looked');
  said.append(hint);

  async function load() {
    try {
      const answer = await ask('/api/attention', { key: shown.key }, signal);
      if (answer.none) hint.replaceChildren(`Where the model looked cannot be shown: ${answer.none}.`);
      else show(answer);
    } catch (error) {
      if (error.name !== 'AbortError') hint.replaceChildren(parts.problem(error, load));
    }
  }

  function show(answer) {
    const heat = h('canvas', { class: 'heat', 'aria-hidden': 'true' });
    stage.append(heat);
    const words = answer.words.map((word, index) => wordButton(word, index));
    const row = h('div', { class: 'words', role: 'toolbar', 'aria-label': 'Words of the caption: each shows where the model looked for it' }, words);
    const play = h('button', { type: 'button', class: 'quiet', onclick: () => (playing ? stop() : start()) }, icon('M6 4l10 6-10 6z'), h('span', {}, 'Play'));
    let current = -1;
    let playing = 0;

    function wordButton(word, index) {
      return h(
        'button',
        {
          type: 'button',
          class: 'word',
          tabindex: index ? '-1' : '0',
          'aria-pressed': 'false',
          '--share': word.probability,
          onclick: () => { stop(); choose(current === index ? -1 : index); },
          onpointerenter: (event) => event.pointerType === 'mouse' && !playing && preview(index),
          onpointerleave: () => !playing && preview(current),
        },
        h('span', { class: 'word-text' }, word.text),
        h('span', { class: 'word-share' }, percent(word.probability)),
      );
    }

    function preview(index) {
      words.forEach((word, at) => word.classList.toggle('lit', at === index));
      draw(heat, index < 0 ? null : answer.words[index].map);
    }

    function choose(index) {
      current = index;
      words.forEach((word, at) => set(word, { 'aria-pressed': String(at === index), tabindex: at === Math.max(index, 0) ? '0' : '-1' }));
      preview(index);
      const word = answer.words[index];
      say(hint, word ? `“${word.text}” (${percent(word.probability)}): the model looked ${position(word.where)}.` : explanation);
    }

    function start() {
      say(play.lastElementChild, 'Stop');
      let at = -1;
      const next = () => {
        at += 1;
        if (at >= words.length || signal.aborted) stop();
        else choose(at);
      };
      next();
      playing = setInterval(next, wantsStillness() ? 2 * STEP : STEP);
    }

    function stop() {
      clearInterval(playing);
      playing = 0;
      say(play.lastElementChild, 'Play');
    }

    row.addEventListener('keydown', (event) => {
      const at = words.indexOf(document.activeElement);
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: words.length - 1 }[event.key];
      if (at >= 0 && event.key === 'Escape') choose(-1);
      if (at < 0 || to === undefined) return;
      event.preventDefault();
      stop();
      const index = (to + words.length) % words.length;
      words[index].focus();
      choose(index);
    });
    signal.addEventListener('abort', stop);
    const explanation = `Choose a word to see where the model looked before it said it.${answer.same ? '' : ` With this page's settings it says: “${answer.caption}”`}`;
    if (answer.same) line.replaceWith(h('h2', { class: 'unseen' }, sidecar.caption), row);
    else line.after(row);
    row.classList.toggle('unsure', Boolean(shown.uncertain));
    foot.append(play);
    say(hint, explanation);
    new ResizeObserver(() => preview(current)).observe(stage);
    page.announce('The words show where the model looked.');
  }
  load();
}

const position = (where) => (where === 'everywhere alike' ? 'everywhere alike' : `mostly at the ${where}${/er$/.test(where) ? ' part' : ''}`);

/** Shade where it looked less than at an even share, warmth where it looked more; nothing at all without a map. */
function draw(canvas, map) {
  canvas.classList.toggle('shown', map !== null);
  if (map === null) return;
  const [rows, columns] = [map.length, map[0].length];
  const grid = new OffscreenCanvas(columns, rows);
  const context = grid.getContext('2d');
  const pixels = context.createImageData(columns, rows);
  map.flat().forEach((share, at) => {
    const light = Math.min(1, Math.max(0, (Math.log2(Math.max(share * rows * columns, 1e-6)) + OCTAVES) / (2 * OCTAVES)));
    pixels.data.set(colour(light), 4 * at);
  });
  context.putImageData(pixels, 0, 0);
  const scale = Math.min(devicePixelRatio, 2);
  canvas.width = Math.max(1, Math.round(canvas.clientWidth * scale));
  canvas.height = Math.max(1, Math.round(canvas.clientHeight * scale));
  const target = canvas.getContext('2d');
  target.imageSmoothingQuality = 'high';
  target.drawImage(grid, 0, 0, canvas.width, canvas.height);
}

function colour(light) {
  if (light < 0.5) return [8, 7, 12, Math.round(255 * DARKEST * (1 - 2 * light))];
  return [255, 120, 40, Math.round(255 * 0.55 * (2 * light - 1))];
}
