// The text of messages as elements: links become links, and the few tags that the allow-list names become fresh
// elements. Nothing of what was received is ever parsed by the browser.

import { h } from '../lib/dom.js';

const LINK = /\bhttps?:\/\/[^\s<>"'`]+[^\s<>"'`.,;:!?)\]}]/giu;
/** Longest formatted text, in letters; elements of one message; how deep they may be nested. Beyond, the plain text is shown. */
const LETTERS_MAX = 40_000;
const NODES_MAX = 2_000;
const DEPTH_MAX = 60;

/** What may appear, and as what. @type {Record<string, string>} */
const TAGS = {
  a: 'a', b: 'strong', blockquote: 'blockquote', br: 'br', code: 'code', del: 'del', em: 'em', h1: 'h4', h2: 'h4', h3: 'h4', h4: 'h4',
  h5: 'h5', h6: 'h5', hr: 'hr', i: 'em', li: 'li', ol: 'ol', p: 'p', pre: 'pre', s: 'del', strike: 'del', strong: 'strong', sub: 'sub',
  sup: 'sup', table: 'table', tbody: 'tbody', td: 'td', th: 'th', thead: 'thead', tr: 'tr', u: 'u', ul: 'ul',
};
/** Elements without content. */
const VOID = new Set(['br', 'hr', 'img', 'input', 'link', 'meta', 'base', 'source', 'wbr', 'col', 'area', 'track']);
/** Dropped together with what is in them; of every other unknown element only the content stays. */
const DROPPED = new Set(['script', 'style', 'template', 'noscript', 'iframe', 'object', 'svg', 'math', 'mx-reply', 'title', 'textarea', 'select', 'head', 'video', 'audio']);

/** A comment, a tag with its attributes, or text. Each part ends soon, so that reading takes time in proportion to the text. */
const TOKEN = /<!--[^]{0,200}?-->|<(\/?)([a-z][a-z0-9-]{0,20})((?:"[^"]{0,2000}"|'[^']{0,2000}'|[^"'<>]){0,200})>|[^<]+|</giu;
const HREF = /(?:^|\s)href\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))/iu;
const ENTITY = /&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|(amp|lt|gt|quot|apos|nbsp));/giu;
/** @type {Record<string, string>} */
const ENTITIES = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\u00a0' };

/** @param {string} text */
function decoded(text) {
  return text.replace(ENTITY, (whole, decimal, hex, name) => {
    if (name) return ENTITIES[name.toLowerCase()];
    const code = decimal ? Number(decimal) : parseInt(hex, 16);
    return code > 0 && code < 0x110000 ? String.fromCodePoint(code) : whole;
  });
}

/** An address that a link may have. @param {string} address */
function safeAddress(address) {
  try {
    const url = new URL(address);
    return ['https:', 'http:', 'mailto:'].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** @param {string} address @param {...any} children */
function link(address, ...children) {
  return h('a', { href: address, target: '_blank', rel: 'noopener noreferrer nofollow ugc' }, ...children);
}

/** Text with its links. @param {string} text @returns {(string | HTMLElement)[]} */
export function linked(text) {
  const parts = [];
  let at = 0;
  for (const found of text.matchAll(LINK)) {
    const address = safeAddress(found[0]);
    if (!address) continue;
    parts.push(text.slice(at, found.index), link(address, found[0]));
    at = found.index + found[0].length;
  }
  parts.push(text.slice(at));
  return parts.filter((part) => part !== '');
}

/**
 * `org.matrix.custom.html` as fresh elements. The browser parses none of it: what looks like a tag of the list becomes an
 * element of that name, and everything else is text or nothing.
 * @param {string} html
 * @returns {DocumentFragment | null} nothing where it is too large
 */
export function sanitized(html) {
  if (html.length > LETTERS_MAX) return null;
  const fragment = document.createDocumentFragment();
  /** @type {{ tag: string, into: Node | null }[]} innermost last; what is dropped goes into nothing */
  const open = [{ tag: '', into: fragment }];
  let nodes = 0;
  for (const [token, slash, name, attributes] of html.matchAll(TOKEN)) {
    const { into } = open[open.length - 1];
    const tag = name?.toLowerCase();
    if ((nodes += 1) > NODES_MAX) return null;
    if (tag && slash) {
      const at = open.findLastIndex((one) => one.tag === tag);
      if (at > 0) open.length = at;
    } else if (tag) {
      const made = into && fresh(tag, attributes);
      if (into && made) into.appendChild(made);
      if (VOID.has(tag)) continue;
      if (open.length > DEPTH_MAX) return null;
      open.push({ tag, into: DROPPED.has(tag) ? null : made ?? into });
    } else if (!token.startsWith('<!--')) {
      into?.appendChild(document.createTextNode(decoded(token)));
    }
  }
  return fragment;
}

/** The element that stands for a tag; none if only its content counts. @param {string} tag @param {string} attributes */
function fresh(tag, attributes) {
  if (!Object.hasOwn(TAGS, tag)) return null;
  if (tag !== 'a') return document.createElement(TAGS[tag]);
  const found = HREF.exec(attributes);
  const address = found && safeAddress(decoded(found[1] ?? found[2] ?? found[3]));
  return address ? link(address) : null;
}
