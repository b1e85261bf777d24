// Pictures, films, sounds and documents in messages.

import { fill, h } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { sizeOf } from '../lib/format.js';
import { WHOLE_BYTES_MAX, fileName, isShown, partsOf } from '../matrix/media.js';
import { openLightbox } from './later.js';
import { attempt } from './toast.js';

/** Space for a picture in a message, in CSS pixels. */
const WIDTH_MAX = 360;
const HEIGHT_MAX = 320;
/** Animated pictures up to this size are shown as they are: thumbnails may stand still. */
const ANIMATED_BYTES_MAX = 12 << 20;

/** @typedef {import('../matrix/client.js').Client} Client */

/** @param {any} value */
function positive(value) {
  return typeof value === 'number' && Number.isFinite(value) && value > 0 ? value : 0;
}

/** What a file is called. @param {any} content */
function nameOf(content) {
  return fileName(content.filename || content.body);
}

/** What was written with it; older clients have only the name. @param {any} content */
function captionOf(content) {
  const { filename, body } = content;
  return typeof filename === 'string' && typeof body === 'string' && body !== filename ? body : '';
}

/**
 * @param {Client} client @param {import('../matrix/room.js').Room} room
 * @param {import('../matrix/timeline.js').MatrixEvent} event @param {any} content
 */
export function attachment(client, room, event, content) {
  const kind = event.type === 'm.sticker' ? 'm.image' : content.msgtype;
  const caption = captionOf(content);
  const body = kind === 'm.image' ? picture(client, room, event, content)
    : kind === 'm.video' || kind === 'm.audio' ? player(client, content, kind) : document_(client, content);
  return h('div', { class: 'attachment' }, body, caption && h('p', { class: 'text', dir: 'auto' }, caption));
}

/** The size in which a picture is shown: as it is, but no larger than there is space. @param {any} info */
export function shownSize(info) {
  const width = positive(info?.w) || WIDTH_MAX;
  const height = positive(info?.h) || HEIGHT_MAX * 0.6;
  const scale = Math.min(1, WIDTH_MAX / width, HEIGHT_MAX / height);
  return { width: Math.max(48, Math.round(width * scale)), height: Math.max(48, Math.round(height * scale)) };
}

/**
 * @param {Client} client @param {import('../matrix/room.js').Room} room
 * @param {import('../matrix/timeline.js').MatrixEvent} event @param {any} content
 */
function picture(client, room, event, content) {
  const name = nameOf(content);
  const { width, height } = shownSize(content.info);
  const button = h('button', { class: 'picture', type: 'button', 'aria-label': `Show ${name}`, data: { focus: 'picture' } }, h('span', { class: 'placeholder' }));
  button.style.setProperty('width', `${width}px`);
  button.style.setProperty('aspect-ratio', `${width} / ${height}`);
  // Still on its way: what is here is shown.
  const local = event.pending?.file;
  if (!local && !partsOf(content.url)) return document_(client, content);
  button.addEventListener('click', () => !event.pending && openLightbox(client, { address: content.url, name, sender: room.nameOf(event.sender), size: content.info?.size }));
  whenInSight(button, async () => {
    try {
      const source = local ? URL.createObjectURL(local) : await sourceOf(client, content, width, height);
      const image = h('img', { src: source, alt: name, draggable: 'false' });
      image.addEventListener('load', () => button.classList.add('loaded'));
      image.addEventListener('error', () => broken(button, client, content));
      fill(button, image);
    } catch {
      broken(button, client, content);
    }
  });
  return button;
}

/** @param {Client} client @param {any} content @param {number} width @param {number} height */
function sourceOf(client, content, width, height) {
  const type = String(content.info?.mimetype ?? '').toLowerCase();
  const size = positive(content.info?.size);
  const isAnimated = ['image/gif', 'image/webp', 'image/apng'].includes(type);
  if (client.media.kept.has(content.url) || (isAnimated && size > 0 && size <= ANIMATED_BYTES_MAX)) return client.media.whole(content.url);
  const density = Math.min(2, Math.ceil(devicePixelRatio));
  return client.media.thumbnail(content.url, { width: width * density, height: height * density, animated: isAnimated });
}

/** A picture that does not come: the file itself can still be saved. @param {HTMLElement} button @param {Client} client @param {any} content */
function broken(button, client, content) {
  button.replaceWith(document_(client, content));
}

/** @param {Element} element @param {() => void} act */
function whenInSight(element, act) {
  const observer = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    act();
  }, { rootMargin: '600px' });
  observer.observe(element);
}

/** @param {Client} client @param {any} content */
function document_(client, content) {
  const name = nameOf(content);
  const detail = [sizeOf(content.info?.size), shortType(content.info?.mimetype)].filter(Boolean).join(' · ');
  const save = h('button', { class: 'document', type: 'button', 'aria-label': `Download ${name}`, title: 'Download', data: { act: 'download', focus: 'download' } },
    h('span', { class: 'file-icon' }, icon('file')),
    h('span', { class: 'who' }, h('strong', { dir: 'auto' }, name), h('small', {}, detail)), icon('download'));
  save.addEventListener('click', () => content.url && attempt(save, () => client.media.save(content.url, name), `“${name}” could not be downloaded.`));
  return save;
}

/** @param {any} type */
function shortType(type) {
  if (typeof type !== 'string' || !/^[\w.+-]+\/[\w.+-]+$/.test(type)) return '';
  return type === 'application/octet-stream' ? '' : type.split('/')[1].replace(/^x-|^vnd\./, '').slice(0, 30);
}

/** A film or sound is fetched when somebody wants it. @param {Client} client @param {any} content @param {string} kind */
function player(client, content, kind) {
  const frame = h('div', { class: 'player' });
  const size = positive(content.info?.size);
  if (size > WHOLE_BYTES_MAX * 4) return document_(client, content);
  const play = h('button', { type: 'button', data: { act: 'play' } }, icon('chats'), kind === 'm.video' ? 'Play the video' : 'Play the sound');
  play.addEventListener('click', () => attempt(play, async () => {
    const source = await client.media.whole(content.url);
    fill(frame, h(kind === 'm.video' ? 'video' : 'audio', { src: source, controls: true, autoplay: true, 'aria-label': nameOf(content) }), document_(client, content));
  }));
  fill(frame, play, document_(client, content));
  return frame;
}

/** The content of a message with this file; its address follows. @param {File} file */
export async function describeFile(file) {
  const type = file.type || 'application/octet-stream';
  /** @type {any} */
  const info = { mimetype: type, size: file.size };
  const kind = isShown(type) ? 'm.image' : type.startsWith('video/') ? 'm.video' : type.startsWith('audio/') ? 'm.audio' : 'm.file';
  if (kind === 'm.image') {
    // A file that only claims to be a picture is sent as a document.
    const bitmap = await createImageBitmap(file).catch(() => null);
    if (!bitmap) return { msgtype: 'm.file', body: file.name, filename: file.name, info, 'm.mentions': {} };
    info.w = bitmap.width;
    info.h = bitmap.height;
    bitmap.close();
  }
  return { msgtype: kind, body: file.name, filename: file.name, info, 'm.mentions': {} };
}
