#!/usr/bin/env node
// Drives the web client in a headless Chromium against the real binary: two and three people side by side.
//
// node run.mjs [--only PART] [--client FOLDER]
//
// HEARTH_BIN is the binary, HEARTH_TEST_NODE_MODULES where playwright-core is installed, CHROMIUM the browser, HEARTH_TEST_PYTHON a Python
// with matrix-nio. Each test is a named check, the last line counts them. Pictures of the main views are left in `results/`; of a failed test, what its users saw.

import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

import { OtherUser } from './lib/other.mjs';
import { Server } from './lib/server.mjs';
import { User } from './lib/user.mjs';

const here = import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname);
const RESULTS = path.join(here, 'results');

function option(name) {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? '' : process.argv[at + 1];
}

async function chromium() {
  const modules = process.env.HEARTH_TEST_NODE_MODULES ?? path.join(here, 'node_modules');
  const require = createRequire(path.join(modules, 'here.js'));
  const { chromium: driver } = await import(pathToFileURL(require.resolve('playwright-core')).href.replace(/index\.js$/, 'index.mjs'));
  return driver.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    // Root has no sandbox, and containers little shared memory.
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'],
  });
}

/** What a test is given: people, servers, pictures. */
class Scene {
  constructor(browser, server, folder, settings) {
    Object.assign(this, { browser, server, folder, settings });
    this.users = [];
    this.others = [];
    this.servers = [];
  }

  /** People who have just signed up, on the common server or their own. */
  async people(...names) {
    return Promise.all(names.map((name) => this.person(name)));
  }

  async person(name, { server = this.server, signUp = true, ...options } = {}) {
    const user = await User.open(this.browser, server.url, name, options);
    this.users.push(user);
    if (signUp) await user.signUp();
    return user;
  }

  /** Somebody with another client. */
  async another(name) {
    const user = await OtherUser.open(this.server.url, name);
    this.others.push(user);
    return user;
  }

  /** A server that the test may kill. */
  async ownServer(settings = {}) {
    const server = new Server(this.server.binary, await mkdtemp(path.join(this.folder, 'own-')), { ...this.settings, ...settings });
    this.servers.push(server);
    await server.start();
    return server;
  }

  picture(user, name) {
    return user.page.screenshot({ path: path.join(RESULTS, `${name}.png`), animations: 'disabled' });
  }

  async pictureOfFailure(name) {
    for (const user of this.users) {
      const file = `failed-${name.replace(/\W+/g, '-').slice(0, 60)}-${user.name}`;
      await this.picture(user, file).catch(() => {});
    }
  }

  /** Ends everything; the answer is what went wrong behind the scene. */
  async end() {
    const faults = this.users.flatMap((user) => user.faults.map((fault) => `${user.name}: ${fault}`));
    for (const user of this.users) await user.close().catch((error) => faults.push(`the browser: ${error.message}`));
    for (const other of this.others) await other.close();
    for (const server of this.servers) {
      faults.push(...await server.panics());
      await server.stop();
    }
    return faults;
  }
}

async function run(browser, server, folder, settings, tests) {
  let passed = 0;
  let failed = 0;
  let skipped = 0;
  for (const [name, test, lacking] of tests) {
    if (lacking) {
      skipped += 1;
      console.log(`skipped ${name}: this server has no ${lacking}`);
      continue;
    }
    const scene = new Scene(browser, server, folder, settings);
    const began = Date.now();
    let problem = null;
    try {
      await test(scene);
    } catch (error) {
      problem = error;
      await scene.pictureOfFailure(name);
    }
    const faults = await scene.end();
    if (!problem && faults.length > 0) problem = new Error(faults.join('\n'));
    if (problem) {
      failed += 1;
      console.log(`FAILED  ${name}\n${problem.stack ?? problem}${faults.length > 0 ? `\n${faults.join('\n')}` : ''}`);
    } else {
      passed += 1;
      console.log(`ok      ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
    }
  }
  return { passed, failed, skipped };
}

/** What a server has of that which some tests need. */
async function abilities(server) {
  const { unstable_features: features } = await (await fetch(`${server.url}/_matrix/client/versions`)).json();
  const config = await fetch(`${server.url}/_matrix/client/v1/media/config`);
  return { 'friends and groups': features?.['chat.hearth.social'] === true, media: config.status !== 404 };
}

async function main() {
  const binary = process.env.HEARTH_BIN;
  if (!binary) throw new Error('HEARTH_BIN has to name the server to test');
  const only = option('only');
  const settings = option('client') ? { HEARTH_WEB__FOLDER: path.resolve(option('client')) } : {};
  await rm(RESULTS, { recursive: true, force: true });
  await mkdir(RESULTS, { recursive: true });
  const folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-web-'));
  const files = (await readdir(path.join(here, 'rows'))).filter((file) => file.endsWith('.mjs')).sort();
  const tests = [];
  for (const file of files) {
    const module = await import(pathToFileURL(path.join(here, 'rows', file)).href);
    for (const [name, test] of Object.entries(module.tests)) tests.push([name, test, module.needs ?? '']);
  }
  const server = new Server(binary, folder, settings);
  const browser = await chromium();
  let counts = { passed: 0, failed: 1 };
  try {
    await server.start();
    const has = await abilities(server);
    const wanted = tests.filter(([name]) => name.includes(only));
    counts = await run(browser, server, folder, settings, wanted.map(([name, test, needs]) => [name, test, needs && !has[needs] ? needs : '']));
    const panics = await server.panics();
    if (panics.length > 0) console.log(`FAILED  the server panicked\n${panics.join('\n')}`);
    counts.failed += panics.length > 0 ? 1 : 0;
  } finally {
    await browser.close();
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  }
  console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped ?? 0} skipped`);
  return counts.failed === 0 ? 0 : 1;
}

process.exit(await main());
