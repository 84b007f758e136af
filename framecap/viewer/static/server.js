// Questions in, the server's answers out; and the addresses of images and pages.

import { hearClock } from './words.js';

export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function answer(response) {
  if (response.status === 401) location.assign('/login');
  let body = {};
  try {
    body = await response.json();
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Refused('The answer was not understood. Is this page served by framecap view?', response.status);
  }
  if (!response.ok) throw new Refused(body.error ?? `It was refused (${response.status}).`, response.status);
  hearClock(body.now);
  return body;
}

/** The answer to a question. Throws Refused with words for the reader; an AbortError when `signal` says so. */
export async function ask(path, parameters = {}, signal = undefined) {
  const wanted = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null && value !== '');
  const query = new URLSearchParams(wanted);
  let response;
  try {
    response = await fetch(`${path}?${query}`, { signal, headers: { accept: 'application/json' } });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Refused('The server does not answer. Is framecap view still running?', 0);
  }
  return answer(response);
}

/** Have the failed frames captioned again: all, or those of one kind of error. */
export async function retry(kind) {
  const query = kind ? `?${new URLSearchParams({ kind })}` : '';
  return answer(await fetch(`/api/retry${query}`, { method: 'POST', headers: { 'x-framecap': 'retry' } }));
}

export const small = (shown) => `/small?${new URLSearchParams({ key: shown.key, mark: shown.mark })}`;
export const imageAddress = (key, mark) => `/image?${new URLSearchParams({ key, mark })}`;
export const sidecar = (key) => `/sidecar?${new URLSearchParams({ key })}`;
export const framePage = (key) => `/frame?${new URLSearchParams({ key })}`;
export const timelinePage = (camera, at) => `/timeline?${new URLSearchParams({ camera, ...(at ? { at: String(Math.floor(at)) } : {}) })}`;
