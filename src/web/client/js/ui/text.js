// The text of messages as elements: links become links, and the few tags that the allow-list names become fresh
// elements. Nothing of what was received is ever put into the page itself.

import { h } from '../lib/dom.js';

const LINK = /\bhttps?:\/\/[^\s<>"'`]+[^\s<>"'`.,;:!?)\]}]/giu;
/** Elements of one message, and how deep they may be nested. */
const NODES_MAX = 2_000;
const DEPTH_MAX = 40;

/** What may appear, and as what. @type {Record<string, string>} */
const TAGS = {
  a: 'a', b: 'strong', blockquote: 'blockquote', br: 'br', code: 'code', del: 'del', em: 'em', h1: 'h4', h2: 'h4', h3: 'h4', h4: 'h4',
  h5: 'h5', h6: 'h5', hr: 'hr', i: 'em', li: 'li', ol: 'ol', p: 'p', pre: 'pre', s: 'del', strike: 'del', strong: 'strong', sub: 'sub',
  sup: 'sup', table: 'table', tbody: 'tbody', td: 'td', th: 'th', thead: 'thead', tr: 'tr', u: 'u', ul: 'ul',
};
/** Dropped together with what is in them; of every other unknown element only the content stays. */
const DROPPED = new Set(['script', 'style', 'template', 'noscript', 'iframe', 'object', 'embed', 'svg', 'math', 'mx-reply', 'title',
  'textarea', 'select', 'head', 'form']);

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
 * The one policy under which this page turns text into a document: an inert one, that is only ever read.
 * @type {any}
 */
const inert = /** @type {any} */ (globalThis).trustedTypes?.createPolicy('hearth-inert', { createHTML: (/** @type {string} */ text) => text })
  ?? { createHTML: (/** @type {string} */ text) => text };

/**
 * `org.matrix.custom.html` as fresh elements.
 * @param {string} html
 * @returns {DocumentFragment}
 */
export function sanitized(html) {
  const parsed = new DOMParser().parseFromString(inert.createHTML(html), 'text/html');
  const budget = { nodes: NODES_MAX };
  const fragment = document.createDocumentFragment();
  copy(parsed.body, fragment, DEPTH_MAX, budget);
  return fragment;
}

/** @param {Node} from @param {Node} into @param {number} depth @param {{ nodes: number }} budget */
function copy(from, into, depth, budget) {
  for (const node of from.childNodes) {
    budget.nodes -= 1;
    if (budget.nodes < 0) return;
    if (node.nodeType === Node.TEXT_NODE) {
      into.appendChild(document.createTextNode(node.nodeValue ?? ''));
    } else if (node instanceof Element && !DROPPED.has(node.localName)) {
      const made = fresh(node);
      if (made) into.appendChild(made);
      if (depth > 0) copy(node, made ?? into, depth - 1, budget);
      else into.appendChild(document.createTextNode(node.textContent ?? ''));
    }
  }
}

/** The element that stands for a received one; none if only its content counts. @param {Element} element */
function fresh(element) {
  const tag = TAGS[element.localName];
  if (!tag || !Object.hasOwn(TAGS, element.localName)) return null;
  if (tag !== 'a') return document.createElement(tag);
  const address = safeAddress(element.getAttribute('href') ?? '');
  return address ? link(address) : null;
}
