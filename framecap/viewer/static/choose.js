// What both the timeline and the search are narrowed down by: a camera, and days. Days are the reader's own.

import { h } from './dom.js';

/** Midnight at the start of a day written 2026-11-22, in Unix seconds; null for what is no day. */
export function dayStart(text) {
  const [year, month, day] = (text ?? '').split('-').map(Number);
  if (!year || !month || !day) return null;
  const at = new Date(year, month - 1, day).getTime() / 1000;
  return Number.isFinite(at) && year < 4000 ? at : null;
}

/** The day of a time, as dayStart reads it. */
export function dayOf(seconds) {
  const at = new Date(seconds * 1000);
  return `${String(at.getFullYear()).padStart(4, '0')}-${String(at.getMonth() + 1).padStart(2, '0')}-${String(at.getDate()).padStart(2, '0')}`;
}

/** The day so many days later. */
export function dayAfter(text, days = 1) {
  const [year, month, day] = text.split('-').map(Number);
  return dayOf(new Date(year, month - 1, day + days).getTime() / 1000);
}

/** A choice of cameras: a list that one can type in, too. */
export function cameraChoice(chosen, onchange) {
  const names = h('datalist', { id: 'camera-names' });
  const input = h('input', { type: 'text', list: 'camera-names', value: chosen, placeholder: 'All cameras', 'aria-label': 'Camera', maxlength: 200, autocomplete: 'off', spellcheck: 'false', onchange: () => onchange(input.value.trim()) });
  return {
    element: h('span', { class: 'choice' }, input, names),
    offer: (cameras) => names.replaceChildren(...cameras.map((name) => h('option', { value: name }))),
    value: () => input.value.trim(),
  };
}

export function dayChoice(label, chosen, onchange) {
  const input = h('input', { type: 'date', value: chosen ?? '', 'aria-label': label, max: '3999-12-31' });
  input.addEventListener('change', () => onchange(input.value));
  return input;
}
