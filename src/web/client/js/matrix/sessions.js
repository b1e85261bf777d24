// Who is logged in on this browser, and in this tab.
//
// Where tokens are kept: decision record 028. In short: in `localStorage` if the user wants to stay signed in, otherwise
// in this tab's `sessionStorage`; access tokens live for an hour, since the client asks for refresh tokens, and renewing
// happens under a lock that all tabs share, so that no two of them use up the same refresh token.

import { MatrixError } from './http.js';

const SESSIONS = 'hearth.sessions';
const CURRENT = 'hearth.current';
const LAST = 'hearth.last';
/** A token is renewed this long before it ends. */
const RENEW_EARLY_MS = 20_000;

/**
 * @typedef {object} Session
 * @property {string} userId
 * @property {string} deviceId
 * @property {string} accessToken
 * @property {string} [refreshToken]
 * @property {number} [expiresAt] milliseconds since 1970
 * @property {boolean} [kept] whether it outlives the tab
 */

/** @param {Storage} storage @returns {Record<string, Session>} */
function read(storage) {
  try {
    return JSON.parse(storage.getItem(SESSIONS) ?? '{}') ?? {};
  } catch {
    return {};
  }
}

/** @param {Session} session */
function storageOf(session) {
  return session.kept ? localStorage : sessionStorage;
}

/** All sessions that this tab can use. @returns {Session[]} */
export function sessionList() {
  return Object.values({ ...read(localStorage), ...read(sessionStorage) });
}

/** @param {string} userId @returns {Session | undefined} */
export function sessionOf(userId) {
  return read(sessionStorage)[userId] ?? read(localStorage)[userId];
}

/** The session of this tab: the one it had, or the one that was used last. @returns {Session | undefined} */
export function currentSession() {
  const chosen = sessionStorage.getItem(CURRENT) ?? localStorage.getItem(LAST) ?? '';
  return sessionOf(chosen);
}

/** @param {Session} session */
export function sessionPut(session) {
  const storage = storageOf(session);
  storage.setItem(SESSIONS, JSON.stringify({ ...read(storage), [session.userId]: session }));
}

/** From now on this tab belongs to that user. @param {string} userId */
export function useSession(userId) {
  sessionStorage.setItem(CURRENT, userId);
  if (read(localStorage)[userId]) localStorage.setItem(LAST, userId);
}

/** This tab belongs to nobody, until someone logs in. */
export function useNone() {
  sessionStorage.setItem(CURRENT, '');
}

/** @param {string} userId */
export function sessionDelete(userId) {
  for (const storage of [localStorage, sessionStorage]) {
    const all = read(storage);
    if (!(userId in all)) continue;
    delete all[userId];
    storage.setItem(SESSIONS, JSON.stringify(all));
  }
  if (localStorage.getItem(LAST) === userId) localStorage.removeItem(LAST);
  if (sessionStorage.getItem(CURRENT) === userId) sessionStorage.removeItem(CURRENT);
}

/** Tells when another tab has logged this user out. @param {string} userId @param {() => void} gone */
export function whenGone(userId, gone) {
  window.addEventListener('storage', (event) => {
    if (event.key === SESSIONS && !sessionOf(userId)) gone();
  });
}

/** A session from the answer to a login, a registration or a renewal. @param {any} answer @param {Partial<Session>} known */
export function sessionFrom(answer, known) {
  const lifetime = Number(answer.expires_in_ms);
  return /** @type {Session} */ ({
    ...known,
    userId: answer.user_id ?? known.userId,
    deviceId: answer.device_id ?? known.deviceId,
    accessToken: answer.access_token,
    refreshToken: answer.refresh_token ?? known.refreshToken,
    expiresAt: lifetime > 0 ? Date.now() + lifetime : undefined,
  });
}

/** The tokens of one user, renewed as needed. */
export class TokenKeeper {
  /**
   * @param {string} userId
   * @param {(refreshToken: string) => Promise<any>} refresh asks the server for new tokens
   * @param {() => void} ended called once, when the session is over
   */
  constructor(userId, refresh, ended) {
    this.userId = userId;
    this.refresh = refresh;
    this.ended = ended;
    this.isOver = false;
  }

  /** A token that is good for a while. */
  async current() {
    const session = sessionOf(this.userId);
    if (!session) return this.over();
    const isEnding = session.expiresAt !== undefined && session.expiresAt - Date.now() < RENEW_EARLY_MS;
    return isEnding && session.refreshToken ? this.renew(session.accessToken) : session.accessToken;
  }

  /**
   * A token in place of one that has ended. The tab that comes first asks for it; the others find it stored.
   * @param {string} ended
   * @returns {Promise<string>}
   */
  async renew(ended) {
    return locked(`hearth.renew.${this.userId}`, async () => {
      const session = sessionOf(this.userId);
      if (!session) return this.over();
      if (session.accessToken !== ended) return session.accessToken;
      if (!session.refreshToken) return this.over();
      try {
        const fresh = sessionFrom(await this.refresh(session.refreshToken), session);
        sessionPut(fresh);
        return fresh.accessToken;
      } catch (error) {
        if (error instanceof MatrixError && error.status < 500 && error.status !== 429) return this.over();
        throw error;
      }
    });
  }

  /** @returns {never} */
  over() {
    if (!this.isOver) {
      this.isOver = true;
      sessionDelete(this.userId);
      this.ended();
    }
    throw new MatrixError(401, { errcode: 'M_UNKNOWN_TOKEN', error: 'You have been signed out' });
  }
}

/**
 * Runs `work` while no other tab does. Pages that are not served over HTTPS or from this machine have no such locks.
 * @template T
 * @param {string} name
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
async function locked(name, work) {
  if (!navigator.locks) return work();
  return /** @type {Promise<T>} */ (navigator.locks.request(name, work));
}
