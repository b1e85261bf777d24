// The first view: signing in, or making an account.

import { fill, h } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { Http, MatrixError } from '../matrix/http.js';
import { TERMS_STAGE, TOKEN_STAGE, logIn, nameProblem, registrationStages, signUp } from '../matrix/login.js';
import { sessionList, useSession } from '../matrix/sessions.js';
import { field } from './dialog.js';
import { explain } from './toast.js';

const PASSWORD_LETTERS_MIN = 8;

/**
 * @param {HTMLElement} root @param {string} base
 * @param {string} notice @param {() => void} entered
 */
export function signIn(root, base, notice, entered) {
  document.title = 'Hearth';
  const view = new SignIn(new Http(base, null), entered);
  fill(root, h('main', { class: 'entrance' },
    h('div', { class: 'brand' }, icon('flame', 'logo'), h('h1', {}, 'Hearth'), h('p', {}, 'Friends and groups around one fire.')),
    h('section', { class: 'card', 'aria-label': 'Sign in' },
      notice && h('p', { class: 'notice', role: 'status' }, notice), view.element),
    view.others()));
  view.show('in');
}

class SignIn {
  /** @param {Http} http @param {() => void} entered */
  constructor(http, entered) {
    this.http = http;
    this.entered = entered;
    this.element = h('div');
    /** @type {string[] | null} */
    this.stages = [];
  }

  /** Accounts of this browser that another tab may be using. */
  others() {
    const sessions = sessionList();
    if (sessions.length === 0) return null;
    const buttons = sessions.map(({ userId }) => {
      const button = h('button', { type: 'button' }, userId);
      button.addEventListener('click', () => {
        useSession(userId);
        this.entered();
      });
      return button;
    });
    return h('section', { class: 'known-accounts', 'aria-label': 'Accounts on this browser' }, h('h2', {}, 'Or go on as'), buttons);
  }

  /** @param {'in' | 'up'} mode */
  show(mode) {
    this.mode = mode;
    const isNew = mode === 'up';
    this.user = h('input', {
      type: 'text', name: 'username', autocomplete: 'username', autocapitalize: 'none', spellcheck: 'false', required: true, maxlength: '230',
    });
    this.password = h('input', {
      type: 'password', name: 'password', autocomplete: isNew ? 'new-password' : 'current-password', required: true,
      ...(isNew ? { minlength: PASSWORD_LETTERS_MIN } : {}),
    });
    this.kept = h('input', { type: 'checkbox', name: 'kept', checked: true });
    this.token = h('input', { type: 'text', name: 'token', autocomplete: 'off', required: true });
    this.tokenField = h('div', { hidden: true }, field('Registration token', this.token, 'You got it from whoever runs this server.'));
    this.token.disabled = true;
    this.problem = h('p', { class: 'problem', role: 'alert' });
    this.button = h('button', { class: 'primary', type: 'submit' }, isNew ? 'Create account' : 'Sign in');
    const form = h('form', { class: 'sign-in', on: { submit: (/** @type {Event} */ event) => this.submit(event) } },
      h('h2', {}, isNew ? 'Create an account' : 'Sign in'),
      field('User name', this.user, isNew ? 'Small letters, digits and . _ - =' : undefined),
      field('Password', this.password, isNew ? `At least ${PASSWORD_LETTERS_MIN} characters` : undefined),
      this.tokenField,
      h('label', { class: 'check' }, this.kept, 'Stay signed in on this device'),
      this.problem, this.button);
    const other = h('button', { class: 'link', type: 'button', data: { act: isNew ? 'sign-in' : 'sign-up' } },
      isNew ? 'I have an account' : 'Create an account');
    other.addEventListener('click', () => this.show(isNew ? 'in' : 'up'));
    fill(this.element, form, h('p', { class: 'other' }, isNew ? '' : 'New here? ', other));
    this.user.focus();
    if (isNew) this.prepare();
  }

  /** What this server wants to know of new users. */
  async prepare() {
    this.user.addEventListener('change', async () => {
      const name = this.user.value.trim().toLowerCase();
      const problem = name ? await nameProblem(this.http, name) : '';
      if (name === this.user.value.trim().toLowerCase()) this.say(problem);
    });
    try {
      this.stages = await registrationStages(this.http);
      if (this.stages === null) {
        this.button.disabled = true;
        this.say('New accounts cannot be made here. Ask whoever runs this server.');
      }
      const needsToken = this.stages?.includes(TOKEN_STAGE) ?? false;
      this.tokenField.hidden = !needsToken;
      this.token.disabled = !needsToken;
      if (this.stages?.includes(TERMS_STAGE)) this.say('By creating an account you accept the terms of this server.');
    } catch (error) {
      this.say(explain(error));
    }
  }

  /** @param {string} problem */
  say(problem) {
    this.problem.textContent = problem;
  }

  /** @param {Event} event */
  async submit(event) {
    event.preventDefault();
    if (this.button.getAttribute('aria-busy') === 'true') return;
    this.button.setAttribute('aria-busy', 'true');
    this.say('');
    const form = { user: this.user.value, password: this.password.value, kept: this.kept.checked, token: this.token.value };
    try {
      await (this.mode === 'up' ? signUp(this.http, form) : logIn(this.http, form));
      this.entered();
    } catch (error) {
      this.say(reason(error));
      this.password.focus();
    } finally {
      this.button.removeAttribute('aria-busy');
    }
  }
}

/** @param {unknown} error */
function reason(error) {
  if (!(error instanceof MatrixError)) return explain(error);
  if (error.errcode === 'M_FORBIDDEN') return 'User name and password do not fit together.';
  if (error.errcode === 'M_USER_IN_USE') return 'This name is taken.';
  if (error.errcode === 'M_INVALID_USERNAME') return 'Use small letters, digits and . _ - = / in the name only.';
  return explain(error);
}
