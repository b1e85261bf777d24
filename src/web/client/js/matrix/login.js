// Signing up and in.

import { Http, MatrixError } from './http.js';
import { sessionFrom, sessionPut, useSession } from './sessions.js';

const DEVICE_NAME = 'Hearth web client';
const CLIENT = '/_matrix/client/v3';
/** Stages that this client can go through without a person: nothing is asked there. */
const DUMMY = 'm.login.dummy';
export const TOKEN_STAGE = 'm.login.registration_token';
export const TERMS_STAGE = 'm.login.terms';

/** @param {boolean} kept @param {any} answer */
function enter(kept, answer) {
  const session = sessionFrom(answer, { kept });
  sessionPut(session);
  useSession(session.userId);
  return session;
}

/**
 * @param {Http} http
 * @param {{ user: string, password: string, kept: boolean }} form
 */
export async function logIn(http, { user, password, kept }) {
  const answer = await http.post(`${CLIENT}/login`, {
    type: 'm.login.password',
    identifier: { type: 'm.id.user', user: user.trim() },
    password,
    initial_device_display_name: DEVICE_NAME,
    refresh_token: true,
  }, { anonymous: true });
  return enter(kept, answer);
}

/**
 * What the server asks of someone who wants an account: the stages of the shortest flow that this client can go
 * through; none if accounts cannot be made here.
 * @param {Http} http
 * @returns {Promise<string[] | null>}
 */
export async function registrationStages(http) {
  try {
    await http.post(`${CLIENT}/register`, {}, { anonymous: true });
    return [];
  } catch (error) {
    if (error instanceof MatrixError && error.status === 401) return shortestFlow(error.body);
    if (error instanceof MatrixError && error.status === 403) return null;
    throw error;
  }
}

/** @param {any} body @returns {string[] | null} */
function shortestFlow(body) {
  const known = [DUMMY, TOKEN_STAGE, TERMS_STAGE];
  const flows = (body.flows ?? []).map((/** @type {any} */ flow) => flow.stages ?? []);
  const possible = flows.filter((/** @type {string[]} */ stages) => stages.every((stage) => known.includes(stage)));
  possible.sort((/** @type {string[]} */ a, /** @type {string[]} */ b) => a.length - b.length);
  return possible[0] ?? null;
}

/**
 * @param {Http} http
 * @param {{ user: string, password: string, kept: boolean, token?: string }} form
 */
export async function signUp(http, { user, password, kept, token }) {
  const request = {
    username: user.trim().toLowerCase(),
    password,
    initial_device_display_name: DEVICE_NAME,
    refresh_token: true,
  };
  /** @type {any} */
  let auth;
  // One request for each stage, and the first one, which asks for them.
  for (let left = 5; left > 0; left -= 1) {
    try {
      const answer = await http.post(`${CLIENT}/register`, { ...request, auth }, { anonymous: true });
      return enter(kept, answer);
    } catch (error) {
      if (!(error instanceof MatrixError) || error.status !== 401 || !error.body.session) throw error;
      if (error.errcode) throw error;
      const done = error.body.completed ?? [];
      const stages = shortestFlow(error.body);
      const next = stages?.find((stage) => !done.includes(stage));
      if (!next) throw error;
      auth = { type: next, session: error.body.session, ...(next === TOKEN_STAGE ? { token: token?.trim() } : {}) };
    }
  }
  throw new Error('The server kept asking for more');
}

/** Why a name cannot be taken; nothing if it can. @param {Http} http @param {string} name */
export async function nameProblem(http, name) {
  try {
    await http.get(`${CLIENT}/register/available`, { query: { username: name }, anonymous: true });
    return '';
  } catch (error) {
    if (!(error instanceof MatrixError) || error.status >= 500 || error.status === 429) return '';
    if (error.errcode === 'M_USER_IN_USE') return 'This name is taken';
    return error.errcode === 'M_INVALID_USERNAME' ? 'Use small letters, digits and . _ - = / only' : error.message;
  }
}
