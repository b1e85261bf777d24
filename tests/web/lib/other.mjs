// Somebody with another client: matrix-nio in a Python process (nio_user.py), who knows nothing of friends and groups.

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';

import { PASSWORD } from './user.mjs';

const PROGRAM = path.join(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), 'nio_user.py');

export class OtherUser {
  /** @param {string} url @param {string} name */
  static async open(url, name) {
    const python = process.env.HEARTH_TEST_PYTHON;
    if (!python) throw new Error('HEARTH_TEST_PYTHON has to name a Python that has matrix-nio');
    const user = new OtherUser(python, url, `${name}-${randomBytes(3).toString('hex')}`);
    const { user_id: id } = await user.call('begin', { password: PASSWORD });
    user.id = id;
    return user;
  }

  constructor(python, url, name) {
    this.name = name;
    this.id = '';
    this.waiting = new Map();
    this.serial = 0;
    this.process = spawn(python, [PROGRAM, url, name], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.ended = once(this.process, 'exit');
    createInterface({ input: this.process.stdout }).on('line', (line) => this.take(JSON.parse(line)));
    this.process.on('exit', (code) => {
      for (const { reject } of this.waiting.values()) reject(new Error(`the Python process ended with ${code}`));
      this.waiting.clear();
    });
  }

  take({ id, answer, error }) {
    const { resolve, reject } = this.waiting.get(id);
    this.waiting.delete(id);
    if (error === undefined) resolve(answer);
    else reject(new Error(`${this.name} (matrix-nio): ${error}`));
  }

  /** @param {string} command @param {any} [options] @returns {Promise<any>} */
  call(command, options = {}) {
    const id = (this.serial += 1);
    const answer = new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
    this.process.stdin.write(`${JSON.stringify({ id, command, ...options })}\n`);
    return answer;
  }

  async close() {
    if (this.process.exitCode === null) {
      this.process.stdin.end();
      await this.ended;
    }
  }

  /** Waits for an invite of somebody: the room, who invites, and the content of the event. */
  invited(user) {
    return this.call('invited', { inviter: user.id });
  }

  /** Waits until this user is no longer in a room, nor invited. */
  isOut(room) {
    return this.call('out', { room });
  }

  /** Waits for what somebody else is in a room. */
  seesMember(room, user, membership) {
    return this.call('member', { room, user: user.id, membership });
  }

  join(room) {
    return this.call('join', { room });
  }

  leave(room) {
    return this.call('leave', { room });
  }

  /** Begins a direct chat as any client does. @returns {Promise<string>} the room */
  asks(user) {
    return this.call('asks', { user: user.id });
  }

  says(room, text) {
    return this.call('says', { room, text });
  }

  reads(room, text) {
    return this.call('reads', { room, text });
  }

  /** The direct chats, as the account data has them. */
  direct() {
    return this.call('direct');
  }
}
