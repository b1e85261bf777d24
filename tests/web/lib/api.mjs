// What a test does behind the pages' backs: the same public endpoints, with the token of a page.

/** @typedef {import('./user.mjs').User} User */

/** The session that the page of a user has stored. @param {User} user */
export function sessionOf(user) {
  return user.page.evaluate((id) => {
    const read = (storage) => JSON.parse(storage.getItem('hearth.sessions') ?? '{}');
    return read(sessionStorage)[id] ?? read(localStorage)[id];
  }, user.id);
}

/** @param {User} user @param {string} method @param {string} path @param {any} [body] */
export async function call(user, method, path, body) {
  user.token ??= (await sessionOf(user)).accessToken;
  const response = await fetch(`${user.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${user.token}`, 'content-type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${JSON.stringify(answer)}`);
  return answer;
}

const of = (room) => `/_matrix/client/v3/rooms/${encodeURIComponent(room)}`;

/** @param {User} user @param {any} request @returns {Promise<string>} */
export async function createRoom(user, request) {
  return (await call(user, 'POST', '/_matrix/client/v3/createRoom', request)).room_id;
}

/** @param {User} user @param {string} room */
export function join(user, room) {
  return call(user, 'POST', `/_matrix/client/v3/join/${encodeURIComponent(room)}`, {});
}

let serial = 0;

/** @param {User} user @param {string} room @param {any} content @param {string} [type] @returns {Promise<string>} */
export async function send(user, room, content, type = 'm.room.message') {
  const txn = `test-${process.pid}-${(serial += 1)}`;
  const body = typeof content === 'string' ? { msgtype: 'm.text', body: content } : content;
  return (await call(user, 'PUT', `${of(room)}/send/${type}/${txn}`, body)).event_id;
}

/** @param {User} user @param {string} room @param {string} type @param {string} [key] */
export function state(user, room, type, key = '') {
  return call(user, 'GET', `${of(room)}/state/${type}/${encodeURIComponent(key)}`);
}

/** @param {User} user @param {string} room @param {string} type @param {any} content */
export function putState(user, room, type, content) {
  return call(user, 'PUT', `${of(room)}/state/${type}/`, content);
}

/** @param {User} user @param {string} room @param {string} id */
export function event(user, room, id) {
  return call(user, 'GET', `${of(room)}/event/${encodeURIComponent(id)}`);
}

/** @param {User} user @param {string} type */
export function accountData(user, type) {
  return call(user, 'GET', `/_matrix/client/v3/user/${encodeURIComponent(user.id)}/account_data/${type}`);
}

/** A group by the ordinary API, with these users in it. @param {User} maker @param {string} name @param {...User} others */
export async function groupOf(maker, name, ...others) {
  const room = await createRoom(maker, { name, preset: 'public_chat' });
  for (const other of others) await join(other, room);
  return room;
}
