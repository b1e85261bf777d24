// What every view has to keep: small, nothing from elsewhere, nothing of what users write becomes code; several accounts,
// the keyboard, narrow windows, names for screen readers.

import { call, createRoom, groupOf, putState, send } from '../lib/api.mjs';
import { assert, eventually } from '../lib/check.mjs';

const FIRST_VIEW_BYTES_MAX = 100_000;

/** What has run code in one client or another. */
const CORPUS = [
  '<script>window.wasRun = 1</script>',
  '<img src=x onerror="window.wasRun = 1">',
  '<svg onload="window.wasRun = 1"><script>window.wasRun = 1</script></svg>',
  '<svg><animate onbegin="window.wasRun = 1" attributeName=x dur=1s>',
  '"><img src=x onerror=window.wasRun=1>',
  "'-window.wasRun=1-'",
  '<iframe src="javascript:parent.wasRun = 1"></iframe>',
  '<iframe srcdoc="<script>parent.wasRun = 1</script>"></iframe>',
  '<a href="javascript:window.wasRun = 1">click</a>',
  '<a href="JaVaScRiPt&colon;window.wasRun=1">click</a>',
  '<a href="data:text/html,<script>opener.wasRun=1</script>">click</a>',
  '<a href=" \u0001javascript:window.wasRun=1">click</a>',
  '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=window.wasRun=1&gt;">',
  '<form action="javascript:window.wasRun=1"><button id=attributes>x</button><input name=parentNode></form>',
  '<div style="background:url(javascript:window.wasRun=1);position:fixed;inset:0">x</div>',
  '<style>* { display: none }</style><link rel=stylesheet href="https://example.org/x.css">',
  '<img src="https://example.org/pixel.png"><video src="https://example.org/v" autoplay>',
  '<base href="https://example.org/"><meta http-equiv=refresh content="0;url=https://example.org/">',
  '<template><script>window.wasRun = 1</script></template><noscript><p title="</noscript><img src=x onerror=window.wasRun=1>">',
  '<textarea autofocus onfocus=window.wasRun=1></textarea><details open ontoggle=window.wasRun=1>',
  '<mx-reply><img src=x onerror=window.wasRun=1></mx-reply>',
  'javascript:window.wasRun=1',
  'https://example.org/"onmouseover="window.wasRun=1',
  '{{constructor.constructor("window.wasRun=1")()}}${window.wasRun=1}',
  '\u202egnp.exe <b>bold</b>',
  '<b>'.repeat(500),
];

async function cleanAfter(user) {
  const found = await user.page.evaluate(() => ({
    wasRun: window.wasRun,
    bad: document.querySelectorAll('iframe, object, embed, form[action], base, meta[http-equiv], #app style, #app link, #app script').length,
    handlers: [...document.querySelectorAll('*')].flatMap((one) => [...one.attributes]).filter(({ name }) => name.startsWith('on')).length,
    addresses: [...document.querySelectorAll('[href], [src]')].map((one) => one.getAttribute('href') ?? one.getAttribute('src'))
      .filter((address) => /^\s*(javascript|data|vbscript):/i.test(address)),
    sources: [...document.querySelectorAll('#app [src]')].map((one) => one.src).filter((source) => !source.startsWith('blob:')),
    styles: [...document.querySelectorAll('.message [style]')].filter((one) => one.style.position === 'fixed').length,
  }));
  assert.deepEqual(found, { wasRun: undefined, bad: 0, handlers: 0, addresses: [], sources: [], styles: 0 });
}

/** Names for screen readers: every control has one, and every field a label. */
function unnamed(user) {
  return user.page.evaluate(() => {
    const nameOf = (one) => one.getAttribute('aria-label') || (one.getAttribute('aria-labelledby') && document.getElementById(one.getAttribute('aria-labelledby'))?.textContent)
      || one.labels?.[0]?.textContent || one.textContent.trim() || one.title;
    return [...document.querySelectorAll('button, input:not([type=file]), textarea, a, [role=tab], [role=option], dialog')]
      .filter((one) => one.checkVisibility() && !nameOf(one)).map((one) => one.outerHTML.slice(0, 120));
  });
}

export const tests = {
  'the first view is small, works under its policy, and asks nobody else': async (scene) => {
    const anna = await scene.person('anna', { signUp: false });
    const session = await anna.context.newCDPSession(anna.page);
    await session.send('Network.enable');
    await session.send('Network.setCacheDisabled', { cacheDisabled: true });
    let bytes = 0;
    session.on('Network.loadingFinished', ({ encodedDataLength }) => (bytes += encodedDataLength));
    anna.requests = [];
    await anna.page.reload({ waitUntil: 'networkidle' });
    await anna.sees('.card');
    assert.ok(bytes > 10_000 && bytes < FIRST_VIEW_BYTES_MAX, `${bytes} bytes`);
    console.log(`        first view: ${bytes} bytes in ${anna.requests.length} requests`);
    assert.deepEqual(anna.requests.filter((address) => !address.startsWith(anna.url)), []);
    await scene.picture(anna, 'sign-in');
  },

  'the corpus does nothing in names, topics, messages, edits, reactions and file names': async (scene) => {
    const [anna, ben] = await scene.people('anna', 'ben');
    const room = await groupOf(anna, 'Corpus', ben);
    await ben.openChat('Corpus');
    for (const [at, text] of CORPUS.entries()) {
      await send(anna, room, text);
      await send(anna, room, { msgtype: 'm.text', body: text, format: 'org.matrix.custom.html', formatted_body: text });
      await send(anna, room, { msgtype: at % 2 ? 'm.file' : 'm.image', body: text, filename: text, url: at % 3 ? 'mxc://localhost/nothing' : text, info: { mimetype: text, size: text, w: text, h: 1e9 } });
      const id = await send(anna, room, { msgtype: text, body: { no: text }, formatted_body: [text] });
      await send(anna, room, { 'm.relates_to': { rel_type: 'm.annotation', event_id: id, key: text.slice(0, 200) } }, 'm.reaction');
      await send(anna, room, { body: 'x', msgtype: 'm.text', 'm.relates_to': { 'm.in_reply_to': { event_id: text } } });
      await putState(anna, room, 'm.room.topic', { topic: text });
      if (at % 6 === 1) await call(anna, 'PUT', `/_matrix/client/v3/profile/${encodeURIComponent(anna.id)}/displayname`, { displayname: text.slice(0, 200) });
    }
    await send(anna, room, { msgtype: 'm.text', body: 'x', format: 'org.matrix.custom.html', formatted_body: '<b>bold</b> <a href="https://example.org/">good</a> <unknown>kept</unknown>' });
    await createRoom(anna, { name: CORPUS[1], topic: CORPUS[2], invite: [ben.id] });
    await send(anna, room, 'the end of the corpus');
    await ben.reads('the end of the corpus');
    // What is good stays good.
    await ben.find('.rich strong', { hasText: 'bold' }).first().waitFor();
    await ben.find('.rich a[href="https://example.org/"][rel~=noopener]', { hasText: 'good' }).first().waitFor();
    await ben.reads('kept');
    await cleanAfter(ben);
    await ben.until(() => {
      document.querySelector('.timeline').scrollTop = 0;
      return document.querySelector('.timeline-top')?.textContent.includes('This is where it begins');
    });
    await cleanAfter(ben);
    await ben.find('.room-head [data-act=details]').click();
    await ben.sees('dialog .members');
    await cleanAfter(ben);
    await ben.page.keyboard.press('Escape');
    await ben.page.reload();
    await ben.reads('the end of the corpus');
    for (const name of ['chats', 'friends', 'groups']) await ben.tab(name);
    await cleanAfter(ben);
  },

  'accounts in several tabs: each its own, and signing out ends only its own': async (scene) => {
    const anna = await scene.person('anna');
    // A second tab of the same browser goes on as the same user, and hears of news as well.
    const same = Object.assign(Object.create(anna), { page: await anna.context.newPage() });
    await same.page.goto(anna.url);
    await same.isIn();
    await same.sees('.me', { hasText: anna.name });
    // A third one belongs to somebody else.
    const other = Object.assign(Object.create(anna), { page: await anna.context.newPage(), name: `${anna.name}-b`, id: `@${anna.name}-b:localhost`, token: undefined });
    await other.page.goto(anna.url);
    await other.isIn();
    await other.accountMenu('add-account');
    await other.page.getByRole('heading', { name: 'Sign in' }).waitFor();
    await other.signUp();
    await other.sees('.me', { hasText: other.name });
    await groupOf(anna, 'Shared', other);
    for (const tab of [anna, same, other]) await tab.openChat('Shared');
    await anna.says('to all tabs');
    for (const tab of [same, other]) await tab.reads('to all tabs');
    await other.page.reload();
    await other.sees('.me', { hasText: other.name });
    await same.accountMenu('sign-out');
    for (const tab of [anna, same]) await tab.page.getByRole('heading', { name: 'Sign in' }).waitFor();
    await other.openChat('Shared');
    await other.says('still here');
    await other.hasSent('still here');
  },

  'signing out and in again; a wrong password says so': async (scene) => {
    const anna = await scene.person('anna');
    await anna.signOut();
    await anna.page.getByLabel('User name').fill(anna.name);
    await anna.page.getByLabel('Password').fill('not the password');
    await anna.page.getByRole('button', { name: 'Sign in' }).click();
    await anna.sees('.problem', { hasText: 'do not fit together' });
    await anna.signIn();
    await anna.sees('.me', { hasText: anna.name });
  },

  'everything can be done by keyboard, and every control has a name': async (scene) => {
    const [anna, ben] = await scene.people('anna', 'ben');
    await groupOf(anna, 'First', ben);
    await groupOf(anna, 'Second', ben);
    await anna.sees('.sidebar .row', { hasText: 'Second' });
    assert.deepEqual(await unnamed(anna), []);
    const { keyboard } = anna.page;
    await keyboard.press('Control+k');
    await keyboard.type('First');
    await keyboard.press('Enter');
    await anna.inRoom('First');
    await anna.until(() => document.activeElement?.matches('.composer textarea'));
    await keyboard.type('by keyboard');
    await keyboard.press('Enter');
    await anna.hasSent('by keyboard');
    await anna.find('.timeline').focus();
    await keyboard.press('ArrowUp');
    await anna.until(() => document.activeElement?.matches('.message'));
    await keyboard.press('e');
    await anna.sees('.context', { hasText: 'Edit message' });
    await keyboard.type('!');
    await keyboard.press('Enter');
    await anna.message('by keyboard!').locator('.edited').waitFor();
    assert.deepEqual(await unnamed(anna), []);
    await anna.find('[role=tab][data-tab=chats]').focus();
    await keyboard.press('ArrowRight');
    await anna.until(() => document.activeElement?.matches('[data-tab=friends][aria-selected=true]'));
    await anna.find('.room-head [data-act=details]').press('Enter');
    await anna.sees('dialog');
    assert.deepEqual(await unnamed(anna), []);
    await keyboard.press('Escape');
    await anna.seesNot('dialog');
    await anna.until(() => document.activeElement?.matches('[data-act=details]'));
  },

  'light and dark, wide and narrow': async (scene) => {
    const [anna, ben] = await scene.people('anna', 'ben');
    const room = await groupOf(anna, 'The hearth', ben);
    await putState(anna, room, 'm.room.topic', { topic: 'Everything about fire' });
    await anna.openChat('The hearth');
    await ben.openChat('The hearth');
    await anna.says('Good evening! Is the fire still burning?');
    await ben.reads('Good evening');
    await ben.says('It is. Come over, there is tea, and https://example.org/cake');
    await anna.reads('Come over');
    await anna.reacts('Come over', '❤️');
    await anna.says('On my way.');
    await anna.hasSent('On my way.');
    await scene.picture(anna, 'room-light');
    await anna.page.emulateMedia({ colorScheme: 'dark' });
    const ground = () => anna.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const dark = await ground();
    await scene.picture(anna, 'room-dark');
    await anna.find('.me').click();
    await anna.find('.menu').getByText('Light colours').click();
    assert.notEqual(await ground(), dark);
    await anna.page.setViewportSize({ width: 380, height: 720 });
    assert.equal(await anna.find('.sidebar').isVisible(), false);
    await scene.picture(anna, 'room-narrow');
    await anna.find('.room-head .back').click();
    await anna.find('.sidebar').waitFor();
    assert.equal(await anna.find('.main').isVisible(), false);
    assert.equal(await anna.page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false);
    await scene.picture(anna, 'list-narrow');
  },

  'a room that is encrypted is shown as such, with a hint': async (scene) => {
    const anna = await scene.person('anna');
    await createRoom(anna, {
      name: 'Secrets', initial_state: [{ type: 'm.room.encryption', state_key: '', content: { algorithm: 'm.megolm.v1.aes-sha2' } }],
    });
    await anna.openChat('Secrets');
    await anna.sees('[data-notice=encrypted]', { hasText: 'client that does encryption' });
    await eventually(() => anna.find('.composer').count(), (count) => count === 0, 'the composer');
  },
};
