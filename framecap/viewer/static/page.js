// The address in, the view it names out; one stream of news for whatever view is open; the keys that work everywhere.

import * as frame from './frame.js';
import * as health from './health.js';
import * as live from './live.js';
import * as search from './search.js';
import * as timeline from './timeline.js';
import { say, set } from './dom.js';
import { growOlder } from './parts.js';
import { count, frames as howMany, hearClock, roughly } from './words.js';

const VIEWS = { '/': live, '/frame': frame, '/timeline': timeline, '/search': search, '/health': health };
const TELL_EVERY = 12000; // milliseconds between two announcements of what came
const main = document.getElementById('main');
const find = document.getElementById('find');
const announcer = document.getElementById('announcer');
let view = null;
let path = null;
let address = null; // of what is shown

const page = {
  health: null,
  go(address) {
    history.pushState(null, '', address);
    show();
  },
  /** Another address for the same view: as it would have to be opened again. */
  rewrite(to, parameters) {
    const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value));
    address = query.size ? `${to}?${query}` : to;
    history.replaceState(null, '', address);
  },
  setTitle(title) {
    document.title = title === 'Live' ? 'framecap' : `${title} · framecap`;
  },
  announce(text) {
    say(announcer, text);
  },
};

function show() {
  view?.close();
  main.replaceChildren();
  address = location.pathname + location.search;
  path = VIEWS[location.pathname] ? location.pathname : '/';
  const parameters = new URLSearchParams(location.search);
  find.value = path === '/search' ? (parameters.get('q') ?? '') : '';
  for (const link of document.querySelectorAll('.pages a')) set(link, { 'aria-current': link.pathname === path ? 'page' : null });
  main.dataset.view = path.slice(1) || 'live';
  view = VIEWS[path].open(main, parameters, page);
  page.setTitle(view.title);
  scrollTo(0, 0);
}

document.addEventListener('click', (event) => {
  const link = event.target.closest?.('a[href]');
  if (!link || event.button || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || link.origin !== location.origin) return;
  if (!VIEWS[link.pathname] || link.hash) return;
  event.preventDefault();
  page.go(link.href);
  main.focus({ preventScroll: true });
});
addEventListener('popstate', () => {
  if (location.pathname + location.search !== address) show(); // else it is a jump within the view
});

document.querySelector('.find').addEventListener('submit', (event) => {
  event.preventDefault();
  const words = find.value.trim();
  if (words) page.go(`/search?${new URLSearchParams({ q: words })}`);
});

document.addEventListener('keydown', (event) => {
  const writing = event.target.closest?.('input, textarea, select');
  if (event.key === '/' && !writing) {
    event.preventDefault();
    find.focus();
    find.select();
  } else if (event.key === 'Escape' && writing === find) {
    find.blur();
  }
});

// News: one stream, closed while nobody looks, so that many open pages do not use up the browser's connections.

const line = document.getElementById('line');
const lineText = document.getElementById('line-text');
let stream = null;
let hadNews = false;

function listen() {
  if (stream || document.hidden) return;
  stream = new EventSource('/api/news');
  stream.addEventListener('open', () => {
    state('live');
    if (hadNews) view?.frames?.([], true); // what came while nobody listened
    hadNews = true;
  });
  stream.addEventListener('error', () => state(stream?.readyState === EventSource.CLOSED ? 'lost' : 'waiting'));
  stream.addEventListener('frames', (event) => {
    const news = JSON.parse(event.data);
    hearClock(news.now);
    view?.frames?.(news.frames, news.missed);
    tell(news.frames);
  });
  stream.addEventListener('health', (event) => {
    page.health = JSON.parse(event.data);
    hearClock(page.health.now);
    showCount(page.health);
    view?.health?.(page.health);
  });
  stream.addEventListener('full', () => {
    state('full');
    stream.close();
  });
}

function rest() {
  stream?.close();
  stream = null;
}

const STATES = { live: 'live', waiting: 'reconnecting', lost: 'not connected', full: 'too many open pages' };
let retrying;
function state(name) {
  line.dataset.state = name;
  say(lineText, STATES[name]);
  clearTimeout(retrying);
  if (name === 'lost') {
    rest();
    retrying = setTimeout(listen, 3000);
  }
}

const badge = document.getElementById('count');
function showCount({ pending, failed }) {
  badge.hidden = !failed && !pending;
  badge.classList.toggle('bad', failed > 0);
  say(badge, failed ? `${roughly(failed)} failed` : `${roughly(pending ?? 0)} pending`);
}

let untold = [];
let telling;
let lastTold = -TELL_EVERY; // milliseconds since the page was opened
function tell(frames) {
  if (path !== '/') return;
  untold.push(...frames.slice(-1));
  untold.total = (untold.total ?? 0) + frames.length;
  telling ??= setTimeout(() => {
    const newest = untold.at(-1);
    if (newest && path === '/') page.announce(`${howMany(untold.total)} captioned. ${newest.camera}: ${newest.caption ?? newest.status}`);
    untold = [];
    telling = undefined;
    lastTold = performance.now();
  }, Math.max(1000, lastTold + TELL_EVERY - performance.now()));
}

document.addEventListener('visibilitychange', () => (document.hidden ? rest() : listen()));
addEventListener('pagehide', rest);
addEventListener('pageshow', listen);
setInterval(() => document.hidden || growOlder(main), 1000);

show();
listen();
