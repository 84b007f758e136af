// Names and texts in, elements out. Texts stay texts: nothing here reads HTML.

/** An element: h('p', {class: 'x', onclick: f, '--share': 0.5}, 'text', child, null). */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  set(element, attributes);
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Attributes, listeners (on...), style variables (--...) and properties of forms, on an element that is there. */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name.startsWith('--')) element.style.setProperty(name, value);
    else if (value === null || value === undefined || value === false) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? '' : value);
  }
  return element;
}

/** A drawing: lines on a field of 20 by 20. */
export function icon(path) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  set(svg, { viewBox: '0 0 20 20', 'aria-hidden': 'true', class: 'icon' });
  const line = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  line.setAttribute('d', path);
  svg.append(line);
  return svg;
}

/** Text that is changed only when it is another: a screen reader need not hear what stays. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export const wantsStillness = () => matchMedia('(prefers-reduced-motion: reduce)').matches;
