// Row 13: images, documents and GIFs are sent, with preview and download.

import { readFile } from 'node:fs/promises';

import { groupOf } from '../lib/api.mjs';
import { assert } from '../lib/check.mjs';

export const needs = 'media';

// A GIF of two frames of one pixel, and a PNG.
const GIF = Buffer.from('R0lGODlhAQABAIAAAP8AAAAA/yH/C05FVFNDQVBFMi4wAwEAAAAh+QQACgAAACwAAAAAAQABAAACAkQBACH5BAAKAAAALAAAAAABAAEAAAICTAEAOw==', 'base64');
const PDF = Buffer.from('%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF\n');

/** A picture that a page has drawn, so that it is a real one. */
async function pngOf(user, width = 640, height = 400) {
  const base64 = await user.page.evaluate((size) => {
    const canvas = Object.assign(document.createElement('canvas'), size);
    const context = canvas.getContext('2d');
    const colours = context.createLinearGradient(0, 0, size.width, size.height);
    colours.addColorStop(0, '#f4a259');
    colours.addColorStop(1, '#5b2a86');
    context.fillStyle = colours;
    context.fillRect(0, 0, size.width, size.height);
    return canvas.toDataURL('image/png').split(',')[1];
  }, { width, height });
  return Buffer.from(base64, 'base64');
}

async function two(scene) {
  const [anna, ben] = await scene.people('anna', 'ben');
  await groupOf(anna, 'Pictures', ben);
  for (const user of [anna, ben]) await user.openChat('Pictures');
  return [anna, ben];
}

/** The picture of a message, loaded and not broken. */
async function loaded(user, name) {
  await user.until((alt) => {
    const image = document.querySelector(`.picture img[alt="${alt}"]`);
    return image?.complete && image.naturalWidth > 0 && image.src.startsWith('blob:');
  }, name);
}

/** Counts the thumbnails that the server gives a page. */
function thumbnailsOf(user) {
  const given = [];
  user.page.on('response', (response) => {
    if (response.url().includes('/_matrix/client/v1/media/thumbnail/')) given.push([response.status(), response.headers()['content-type']]);
  });
  return given;
}

async function downloaded(user, button) {
  const [download] = await Promise.all([user.page.waitForEvent('download'), button.click()]);
  return { name: download.suggestedFilename(), bytes: await readFile(await download.path()) };
}

export const tests = {
  'row 13: an image is sent with a preview, opened large and downloaded': async (scene) => {
    const [anna, ben] = await two(scene);
    const png = await pngOf(anna);
    await anna.attaches({ name: 'evening sky.png', mimeType: 'image/png', buffer: png });
    await loaded(anna, 'evening sky.png');
    await loaded(ben, 'evening sky.png');
    await scene.picture(ben, 'image');
    await ben.find('button.picture').click();
    await ben.until(() => document.querySelector('.lightbox img')?.naturalWidth === 640);
    await scene.picture(ben, 'lightbox');
    const { name, bytes } = await downloaded(ben, ben.find('.lightbox [data-act=download]'));
    assert.equal(name, 'evening sky.png');
    assert.ok(bytes.equals(png));
    await ben.page.keyboard.press('Escape');
    await ben.seesNot('.lightbox');
  },

  'row 13: what is shown of a large picture is the thumbnail that the server made': async (scene) => {
    const [anna, ben] = await two(scene);
    const given = thumbnailsOf(ben);
    await anna.attaches({ name: 'evening.png', mimeType: 'image/png', buffer: await pngOf(anna, 1600, 1000) });
    await loaded(ben, 'evening.png');
    const shown = await ben.page.evaluate(() => document.querySelector('.picture img').naturalWidth);
    // Smaller than the picture, and not the picture itself in place of a thumbnail that did not come.
    assert.ok(shown > 0 && shown < 1600, `the picture that is shown is ${shown} pixels wide`);
    assert.equal(given.length, 1);
    assert.equal(given[0][0], 200);
    assert.match(given[0][1], /^image\/(png|jpeg)$/);
  },

  'row 13: a document with a name of other letters is sent and downloaded': async (scene) => {
    const [anna, ben] = await two(scene);
    await anna.attaches({ name: 'Übersicht – план.pdf', mimeType: 'application/pdf', buffer: PDF });
    const button = await ben.sees('.document', { hasText: 'Übersicht – план.pdf' });
    const { name, bytes } = await downloaded(ben, button);
    assert.equal(name, 'Übersicht – план.pdf');
    assert.ok(bytes.equals(PDF));
  },

  'row 13: an animated GIF arrives as it is, and moves': async (scene) => {
    const [anna, ben] = await two(scene);
    await anna.attaches({ name: 'dance.gif', mimeType: 'image/gif', buffer: GIF });
    await loaded(ben, 'dance.gif');
    // Thumbnails may stand still: the picture itself is what is shown, and what the download gives.
    await ben.find('button.picture').click();
    const { bytes } = await downloaded(ben, ben.find('.lightbox [data-act=download]'));
    assert.ok(bytes.equals(GIF));
  },

  'row 13: a file that only claims to be a picture is sent as a document, and runs nothing': async (scene) => {
    const [anna, ben] = await two(scene);
    const html = Buffer.from('<script>window.wasRun = true</script>');
    await anna.attaches({ name: 'holiday.png', mimeType: 'image/png', buffer: html });
    const button = await ben.sees('.document', { hasText: 'holiday.png' });
    const { bytes } = await downloaded(ben, button);
    assert.ok(bytes.equals(html));
    assert.equal(await ben.page.evaluate(() => window.wasRun), undefined);
  },

  'row 13: several files go with one message, and one can be taken out before': async (scene) => {
    const [anna, ben] = await two(scene);
    const files = ['one.txt', 'two.txt', 'three.txt'].map((name) => ({ name, mimeType: 'text/plain', buffer: Buffer.from(name) }));
    await anna.find('.composer input[type=file]').setInputFiles(files);
    await anna.find('.tray li', { hasText: 'two.txt' }).getByRole('button').click();
    await anna.says('Two files');
    await ben.reads('Two files');
    await ben.sees('.document', { hasText: 'three.txt' });
    assert.deepEqual(await ben.find('.document strong').allTextContents(), ['one.txt', 'three.txt']);
  },
};
