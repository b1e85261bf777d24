// Pictures and files: uploaded with their progress, downloaded with the user's token and shown from memory.

import { MatrixError, NetworkError, path } from './http.js';

/** Addresses of pictures in memory that are kept. */
const KEPT_MAX = 200;
/** Largest picture that is fetched whole to be shown, in bytes. */
export const WHOLE_BYTES_MAX = 32 << 20;

/** Types that browsers show and that can hold no code. All else is only ever saved. */
const SHOWN = new Set(['image/png', 'image/jpeg', 'image/gif', 'image/webp', 'image/avif', 'image/bmp']);
const PLAYED = /^(video|audio)\/[\w.+-]+$/;

/** @param {any} address @returns {{ server: string, id: string } | null} */
export function partsOf(address) {
  const found = typeof address === 'string' ? /^mxc:\/\/([^/?#]+)\/([\w-]+)$/.exec(address) : null;
  return found ? { server: found[1], id: found[2] } : null;
}

/** @param {any} type */
export function isShown(type) {
  return typeof type === 'string' && SHOWN.has(type.toLowerCase());
}

export class Media {
  /** @param {import('./http.js').Http} http */
  constructor(http) {
    this.http = http;
    /** @type {Map<string, Promise<string>>} least recently used first */
    this.kept = new Map();
  }

  /**
   * A picture of about this size, as an address for `src`.
   * @param {string} address `mxc://…`
   * @param {{ width: number, height: number, method?: 'crop' | 'scale', animated?: boolean }} size
   */
  thumbnail(address, { width, height, method = 'scale', animated = false }) {
    const parts = partsOf(address);
    if (!parts) return Promise.reject(new Error('This picture has no valid address'));
    return this.keep(`${address} ${width}x${height} ${method} ${animated}`, async () => {
      const where = path`/_matrix/client/v1/media/thumbnail/${parts.server}/${parts.id}`;
      try {
        return await this.blob(where, { width, height, method, animated });
      } catch (error) {
        // Not every format has thumbnails; the picture itself may still be one that browsers show.
        if (!(error instanceof MatrixError) || error.status === 429) throw error;
        return this.blob(path`/_matrix/client/v1/media/download/${parts.server}/${parts.id}`);
      }
    }, SHOWN);
  }

  /** The whole picture, video or sound, as an address for `src`. @param {string} address */
  whole(address) {
    return this.keep(address, () => this.fetch(address));
  }

  /** The bytes, whatever they are. @param {string} address @param {AbortSignal} [signal] */
  fetch(address, signal) {
    const parts = partsOf(address);
    if (!parts) return Promise.reject(new Error('This file has no valid address'));
    return this.blob(path`/_matrix/client/v1/media/download/${parts.server}/${parts.id}`, {}, signal);
  }

  /** @param {string} where @param {any} [query] @param {AbortSignal} [signal] */
  async blob(where, query, signal) {
    const response = await this.http.fetch('GET', where, { query, signal, timeoutMs: 120_000 });
    try {
      return await response.blob();
    } catch {
      throw new NetworkError('The download broke off');
    }
  }

  /** @param {string} key @param {() => Promise<Blob>} fetch @param {Set<string>} [types] */
  keep(key, fetch, types) {
    const known = this.kept.get(key);
    if (known) {
      this.kept.delete(key);
      this.kept.set(key, known);
      return known;
    }
    const made = fetch().then((blob) => URL.createObjectURL(safe(blob, types)));
    this.kept.set(key, made);
    made.catch(() => this.kept.delete(key));
    this.shrink();
    return made;
  }

  /** Remembers the bytes of an address. @param {string} address @param {Blob} blob */
  put(address, blob) {
    this.keep(address, () => Promise.resolve(blob));
  }

  shrink() {
    for (const [key, address] of this.kept) {
      if (this.kept.size <= KEPT_MAX) return;
      this.kept.delete(key);
      address.then((url) => URL.revokeObjectURL(url), () => {});
    }
  }

  forget() {
    for (const address of this.kept.values()) address.then((url) => URL.revokeObjectURL(url), () => {});
    this.kept.clear();
  }

  /**
   * Saves a file under its name, as any other download.
   * @param {string} address @param {string} name
   */
  async save(address, name) {
    const blob = await this.fetch(address);
    // Never a type that could run as a page of this origin.
    const url = URL.createObjectURL(blob.slice(0, blob.size, 'application/octet-stream'));
    const link = document.createElement('a');
    link.href = url;
    link.download = fileName(name);
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  }

  /**
   * `fetch` does not tell how far an upload is; this older way does.
   * @param {Blob} file @param {string} name @param {AbortSignal} signal @param {(progress: number) => void} tell
   * @returns {Promise<string>} the address, `mxc://…`
   */
  async upload(file, name, signal, tell) {
    const token = await this.http.tokens?.current();
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open('POST', `${this.http.base}/_matrix/media/v3/upload?${new URLSearchParams({ filename: name })}`);
      request.setRequestHeader('authorization', `Bearer ${token}`);
      request.setRequestHeader('content-type', file.type || 'application/octet-stream');
      request.responseType = 'json';
      request.upload.onprogress = (event) => event.lengthComputable && tell(event.loaded / event.total);
      request.onload = () => {
        if (request.status === 200 && partsOf(request.response?.content_uri)) resolve(request.response.content_uri);
        else reject(new MatrixError(request.status, request.response));
      };
      request.onerror = () => reject(new NetworkError());
      request.onabort = () => reject(new DOMException('stopped', 'AbortError'));
      signal.addEventListener('abort', () => request.abort());
      request.send(file);
    });
  }

  /** The largest upload that the server takes, in bytes; infinite if it does not say. */
  async limit() {
    this.limitAnswer ??= this.http.get('/_matrix/client/v1/media/config').catch(() => ({}));
    const answer = await this.limitAnswer;
    return Number(answer['m.upload.size']) || Infinity;
  }
}

/** With a type that can only be a picture, a film or a sound. @param {Blob} blob @param {Set<string>} [types] */
function safe(blob, types) {
  const type = blob.type.toLowerCase().split(';')[0].trim();
  const isSafe = types ? types.has(type) : SHOWN.has(type) || PLAYED.test(type);
  return blob.slice(0, blob.size, isSafe ? type : 'application/octet-stream');
}

/** A name that is a name only: no folder, nothing that turns the reading direction around. @param {any} name */
export function fileName(name) {
  const given = typeof name === 'string' ? name : '';
  const clean = given.replace(/[\u0000-\u001f\u007f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '').replace(/[/\\:*?"<>|]/g, '_').trim();
  return clean.slice(0, 200) || 'file';
}
