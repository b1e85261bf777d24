// Requests to the homeserver: tokens and their renewal, limits, errors that say what happened.

/** Longest wait for an answer, unless the request says otherwise. */
const TIMEOUT_MS = 30_000;
/** How often a request is made again because the server asked for a pause. */
const PAUSES_MAX = 4;
/** Longest pause that the server can ask for. */
const PAUSE_MS_MAX = 30_000;

/** What the server refused. */
export class MatrixError extends Error {
  /** @param {number} status @param {any} body */
  constructor(status, body) {
    super(typeof body?.error === 'string' && body.error ? body.error : `The server answered ${status}`);
    this.name = 'MatrixError';
    this.status = status;
    this.body = body ?? {};
    this.errcode = typeof body?.errcode === 'string' ? body.errcode : '';
  }
}

/** The server could not be reached, or broke off. */
export class NetworkError extends Error {
  /** @param {string} [message] */
  constructor(message = 'The server cannot be reached') {
    super(message);
    this.name = 'NetworkError';
  }
}

/** Whether the same request may work later. @param {unknown} error */
export function isPassing(error) {
  if (error instanceof NetworkError) return true;
  return error instanceof MatrixError && (error.status >= 500 || error.status === 429);
}

/**
 * A path with its variables escaped.
 * @param {TemplateStringsArray} parts
 * @param {...(string | number)} values
 */
export function path(parts, ...values) {
  return parts.reduce((whole, part, at) => whole + encodeURIComponent(values[at - 1]) + part);
}

/** @param {Record<string, string | number | boolean | undefined>} [query] */
function queryOf(query) {
  const given = Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== '');
  if (given.length === 0) return '';
  return `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}`;
}

/** @param {number} ms @param {AbortSignal} [signal] */
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const stopped = () => reject(new DOMException('stopped', 'AbortError'));
    if (signal?.aborted) return stopped();
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener('abort', () => {
      clearTimeout(timer);
      stopped();
    });
  });
}

/**
 * @typedef {object} Options
 * @property {Record<string, string | number | boolean | undefined>} [query]
 * @property {any} [body] sent as JSON
 * @property {AbortSignal} [signal]
 * @property {number} [timeoutMs]
 * @property {boolean} [anonymous] without a token
 */

export class Http {
  /**
   * @param {string} base where the server is
   * @param {import('./sessions.js').TokenKeeper | null} tokens who knows the tokens; nobody before logging in
   */
  constructor(base, tokens) {
    this.base = base;
    this.tokens = tokens;
  }

  /** @param {string} path @param {Options} [options] */
  get(path, options) {
    return this.request('GET', path, options);
  }

  /** @param {string} path @param {any} [body] @param {Options} [options] */
  post(path, body = {}, options = {}) {
    return this.request('POST', path, { ...options, body });
  }

  /** @param {string} path @param {any} [body] @param {Options} [options] */
  put(path, body = {}, options = {}) {
    return this.request('PUT', path, { ...options, body });
  }

  /**
   * The JSON of the answer. Waits and asks again if the server says that it was too much at once.
   * @param {string} method @param {string} path @param {Options} [options]
   * @returns {Promise<any>}
   */
  async request(method, path, options = {}) {
    for (let pauses = 0; ; pauses += 1) {
      try {
        const response = await this.fetch(method, path, options);
        return await jsonOf(response);
      } catch (error) {
        const waits = error instanceof MatrixError && error.status === 429 && pauses < PAUSES_MAX;
        if (!waits) throw error;
        const asked = Number(error.body.retry_after_ms) || 1000;
        await pause(Math.min(asked, PAUSE_MS_MAX), options.signal);
      }
    }
  }

  /**
   * The answer itself, if it is a good one; with a new token if the old one has ended.
   * @param {string} method @param {string} path @param {Options} [options]
   * @returns {Promise<Response>}
   */
  async fetch(method, path, options = {}) {
    const token = options.anonymous ? null : await this.tokens?.current();
    const response = await this.once(method, path, options, token);
    if (response.ok) return response;
    const error = await errorOf(response);
    if (error.errcode === 'M_UNKNOWN_TOKEN' && token && this.tokens) {
      const renewed = await this.tokens.renew(token);
      const again = await this.once(method, path, options, renewed);
      if (again.ok) return again;
      throw await errorOf(again);
    }
    throw error;
  }

  /**
   * @param {string} method @param {string} path @param {Options} options @param {string | null | undefined} token
   */
  async once(method, path, options, token) {
    const stop = new AbortController();
    const timer = setTimeout(() => stop.abort(), options.timeoutMs ?? TIMEOUT_MS);
    const forward = () => stop.abort();
    options.signal?.addEventListener('abort', forward);
    /** @type {Record<string, string>} */
    const headers = {};
    if (token) headers.authorization = `Bearer ${token}`;
    if (options.body !== undefined) headers['content-type'] = 'application/json';
    try {
      return await fetch(`${this.base}${path}${queryOf(options.query)}`, {
        method,
        headers,
        body: options.body === undefined ? undefined : JSON.stringify(options.body),
        signal: stop.signal,
        cache: 'no-store',
        credentials: 'omit',
        referrerPolicy: 'no-referrer',
      });
    } catch (error) {
      if (options.signal?.aborted) throw new DOMException('stopped', 'AbortError');
      throw new NetworkError(stop.signal.aborted ? 'The server did not answer in time' : undefined);
    } finally {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', forward);
    }
  }
}

/** @param {Response} response */
async function jsonOf(response) {
  try {
    return await response.json();
  } catch {
    throw new NetworkError('The answer of the server broke off');
  }
}

/** @param {Response} response */
async function errorOf(response) {
  const body = await response.json().catch(() => ({}));
  return new MatrixError(response.status, body);
}
