// Somebody in front of a browser: a page, and what people do with it. Every step waits for what it needs to see.

import { randomBytes } from 'node:crypto';

export const PASSWORD = 'correct horse battery staple';
/** Long, for machines that are busy with other things; nothing waits longer than it has to. */
const WAIT_MS = 90_000;

export class User {
  /**
   * @param {import('playwright-core').Browser} browser
   * @param {string} url
   * @param {string} name
   * @param {any} [options] of the browser's context
   */
  static async open(browser, url, name, options = {}) {
    const context = await browser.newContext({ viewport: { width: 1180, height: 780 }, acceptDownloads: true, ...options });
    context.setDefaultTimeout(WAIT_MS);
    const user = new User(context, await context.newPage(), url, name);
    user.watch();
    // What matters is waited for by those who need it.
    await user.page.goto(url, { waitUntil: 'commit' });
    return user;
  }

  constructor(context, page, url, name) {
    this.context = context;
    this.page = page;
    this.url = url;
    this.name = `${name}-${randomBytes(3).toString('hex')}`;
    this.id = `@${this.name}:localhost`;
    /** What must not happen: errors of the page, requests to elsewhere, violations of the policy. */
    this.faults = [];
    this.requests = [];
  }

  watch() {
    this.page.on('pageerror', (error) => this.faults.push(`error of the page: ${error.stack ?? error}`));
    this.page.on('dialog', (dialog) => {
      this.faults.push(`a script opened a dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
    this.page.on('console', (message) => {
      const text = message.text();
      if (/Content Security Policy|Trusted Type/i.test(text)) this.faults.push(`the policy was violated: ${text}`);
    });
    this.page.on('request', (request) => {
      this.requests.push(request.url());
      if (!/^(blob|data):/.test(request.url()) && new URL(request.url()).origin !== this.url) this.faults.push(`a request to elsewhere: ${request.url()}`);
    });
  }

  close() {
    return this.context.close();
  }

  // --- finding ---

  /** @param {string} selector @param {any} [options] */
  find(selector, options) {
    return this.page.locator(selector, options);
  }

  /** Waits until something is to be seen. */
  async sees(selector, options) {
    const found = this.find(selector, options).first();
    await found.waitFor({ state: 'visible' });
    return found;
  }

  async seesNot(selector, options) {
    await this.find(selector, options).first().waitFor({ state: 'hidden' });
  }

  /** Waits until a function in the page answers something true. */
  until(check, argument) {
    return this.page.waitForFunction(check, argument, { timeout: WAIT_MS });
  }

  // --- accounts ---

  async signUp() {
    await this.page.locator('[data-act=sign-up]').click();
    await this.page.getByRole('heading', { name: 'Create an account' }).waitFor();
    await this.fillIn();
    await this.page.getByRole('button', { name: 'Create account' }).click();
    await this.isIn();
    return this;
  }

  async signIn() {
    await this.page.getByRole('heading', { name: 'Sign in' }).waitFor();
    await this.fillIn();
    await this.page.getByRole('button', { name: 'Sign in' }).click();
    await this.isIn();
  }

  async fillIn() {
    await this.page.getByLabel('User name').fill(this.name);
    await this.page.getByLabel('Password').fill(PASSWORD);
  }

  /** Signed in, and the first answer of the server is there. */
  async isIn() {
    await this.sees('nav.sidebar');
    await this.online();
  }

  online() {
    return this.until(() => document.documentElement.dataset.connection === 'online');
  }

  async signOut() {
    await this.accountMenu('sign-out');
    await this.page.getByRole('heading', { name: 'Sign in' }).waitFor();
  }

  async accountMenu(act) {
    await this.find('.me').click();
    await this.find(`.menu [data-act="${act}"]`).click();
  }

  // --- lists ---

  tab(name) {
    return this.find(`[role=tab][data-tab=${name}]`).click();
  }

  section(id) {
    return this.find(`[data-section="${id}"]`);
  }

  /** The row of somebody in a section of the friends. */
  person(section, user) {
    return this.section(section).locator(`[data-user="${user.id}"]`);
  }

  newMenu(act) {
    return this.find('.sidebar > header [aria-label="New…"]').click().then(() => this.find(`.menu [data-act="${act}"]`).click());
  }

  async openChat(title) {
    await this.tab('chats');
    await this.find('.sidebar .row', { hasText: title }).first().click();
    await this.inRoom(title);
  }

  inRoom(title) {
    return this.sees('.room-head h2', { hasText: title });
  }

  roomId() {
    return this.page.evaluate(() => decodeURIComponent(location.hash.replace('#/room/', '')));
  }

  // --- friends ---

  async asksForFriendship(other, message = '') {
    await this.newMenu('add-friend');
    await this.page.getByLabel('Name').fill(other.name);
    if (message) await this.page.getByLabel('Message (optional)').fill(message);
    await this.page.getByRole('button', { name: 'Send request' }).click();
    await this.seesNot('dialog');
  }

  async accepts(other) {
    await this.tab('friends');
    await this.person('requests', other).locator('[data-act=accept]').click();
    await this.person('friends', other).waitFor();
  }

  async befriends(other) {
    await this.asksForFriendship(other);
    await other.accepts(this);
    await this.tab('friends');
    await this.person('friends', other).waitFor();
  }

  async confirms(act) {
    await this.find('dialog.small').getByRole('button', { name: act }).click();
    await this.seesNot('dialog.small');
  }

  async actsOnFriend(other, act) {
    await this.tab('friends');
    await this.find(`.sections [data-user="${other.id}"] [data-act=more]`).click();
    await this.find(`.menu [data-act="${act}"]`).click();
  }

  /** Picks people from the drop-down by typing the beginning of their names. */
  async picks(...users) {
    const box = this.find('dialog [role=combobox]');
    for (const user of users) {
      await box.fill(user.name);
      await this.find(`dialog [role=option][data-user="${user.id}"]`).click();
      await this.find(`dialog .chip[data-user="${user.id}"]`).waitFor();
    }
  }

  // --- groups ---

  async makesGroup(name, { open = true, invite = [] } = {}) {
    await this.newMenu('new-group');
    const dialog = this.find('dialog');
    await dialog.getByLabel('Name', { exact: true }).fill(name);
    if (!open) await dialog.getByLabel('Whoever is invited').check();
    if (invite.length > 0) await this.picks(...invite);
    await dialog.getByRole('button', { name: 'Make the group' }).click();
    await this.inRoom(name);
    return this.roomId();
  }

  async opensPrivateGroup(users, name = '') {
    await this.newMenu('new-private-group');
    await this.picks(...users);
    if (name) await this.find('dialog').getByLabel('Name (optional)').fill(name);
    await this.find('dialog').getByRole('button', { name: 'Open the group' }).click();
    await this.seesNot('dialog');
    await this.sees('.composer textarea');
    return this.roomId();
  }

  async joins(name) {
    await this.tab('groups');
    await this.section('open').locator('li', { hasText: name }).locator('[data-act=join]').click();
    await this.inRoom(name);
  }

  // --- messages ---

  async says(text) {
    const box = await this.sees('.composer textarea');
    await box.fill(text);
    await box.press('Enter');
  }

  /** The message with exactly this text; with what is around it. */
  message(text) {
    return this.find('.message', { has: this.page.locator('.bubble .text', { hasText: text }) }).last();
  }

  async reads(text) {
    await this.message(text).waitFor();
  }

  /** Waits until nothing of what this user has sent is still on its way. */
  async hasSent(text) {
    await this.reads(text);
    await this.until((wanted) => [...document.querySelectorAll('.message')].some((one) => one.textContent.includes(wanted) && !one.classList.contains('pending')), text);
  }

  async acts(text, act) {
    const message = this.message(text);
    await message.hover();
    await message.locator(`[data-act=${act}]`).click();
  }

  async reacts(text, emoji) {
    await this.acts(text, 'react');
    await this.find('.menu.emoji').getByRole('menuitem', { name: emoji, exact: true }).click();
  }

  reaction(text, emoji) {
    return this.message(text).locator(`.reaction[data-reaction="${emoji}"]`);
  }

  async deletes(text) {
    await this.acts(text, 'delete');
    await this.confirms('Delete');
  }

  async attaches(...files) {
    await this.find('.composer input[type=file]').setInputFiles(files);
    await this.sees('.tray li');
    await this.find('.composer').getByRole('button', { name: 'Send' }).click();
  }

  /** All that a page knows of its network: used to see that nothing was lost and nobody reloaded. */
  mark() {
    return this.page.evaluate(() => (window.stillTheSamePage = true));
  }

  async wasNotReloaded() {
    if (!(await this.page.evaluate(() => window.stillTheSamePage === true))) throw new Error(`the page of ${this.name} was loaded again`);
  }
}
