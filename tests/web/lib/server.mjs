// The real binary under test: on a free loopback port, with a data folder of its own, killed and started again.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

const START_MS_MAX = 60_000;

async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  await once(probe, 'close');
  return port;
}

export class Server {
  /** @param {string} binary @param {string} folder @param {Record<string, string>} [settings] */
  constructor(binary, folder, settings = {}) {
    this.binary = binary;
    this.folder = folder;
    this.settings = settings;
    this.logPath = path.join(folder, 'server.log');
  }

  async start() {
    this.port ??= await freePort();
    this.url = `http://127.0.0.1:${this.port}`;
    // Nothing of the caller's own settings may leak in.
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('HEARTH_'));
    const log = createWriteStream(this.logPath, { flags: 'a' });
    await once(log, 'open');
    this.process = spawn(this.binary, ['serve'], {
      cwd: this.folder,
      stdio: ['ignore', log, log],
      env: {
        ...Object.fromEntries(inherited),
        HEARTH_SERVER_NAME: 'localhost',
        HEARTH_LISTEN: `127.0.0.1:${this.port}`,
        HEARTH_DATA_DIR: path.join(this.folder, 'data'),
        // Tests act faster than people; limits have tests of their own.
        HEARTH_RATE_LIMITS__ENABLED: 'false',
        // Passwords of tests are no secret.
        HEARTH_PASSWORD__MEMORY: '64 KiB',
        HEARTH_PASSWORD__ITERATIONS: '1',
        ...this.settings,
      },
    });
    this.ended = once(this.process, 'exit');
    await this.answers();
  }

  async answers() {
    const deadline = Date.now() + START_MS_MAX;
    while (Date.now() < deadline) {
      if (this.process.exitCode !== null) throw new Error(`the server ended while starting:\n${await this.logEnd()}`);
      const answer = await fetch(`${this.url}/_matrix/client/versions`).catch(() => null);
      if (answer?.ok) return;
      // Nothing tells when another process has begun to listen.
      await pause(20);
    }
    throw new Error(`the server did not answer in time:\n${await this.logEnd()}`);
  }

  /** kill -9: no chance to write anything. */
  async kill() {
    this.process.kill('SIGKILL');
    await this.ended;
  }

  async stop() {
    if (!this.process || this.process.exitCode !== null || this.process.signalCode !== null) return;
    this.process.kill('SIGTERM');
    await this.ended;
  }

  async logEnd(lines = 40) {
    const text = await readFile(this.logPath, 'utf8').catch(() => '');
    return text.split('\n').slice(-lines).join('\n');
  }

  async panics() {
    const text = await readFile(this.logPath, 'utf8').catch(() => '');
    return text.split('\n').filter((line) => line.includes('panicked at'));
  }
}
