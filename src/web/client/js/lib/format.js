// How times, sizes and names are said.

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: 'long' });
const shortDate = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });
const longDate = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' });
const fullDate = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'long', year: 'numeric' });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'medium' });

/** Whether a timestamp is one that a date can be made of: servers send what senders claim. @param {any} ts */
function isTime(ts) {
  return typeof ts === 'number' && Math.abs(ts) < 8.64e15;
}

/** @param {number} ts */
export function timeOf(ts) {
  return isTime(ts) ? clock.format(ts) : '';
}

/** @param {number} ts */
export function exactTime(ts) {
  return isTime(ts) ? exact.format(ts) : '';
}

/** The day of a timestamp, as a key. @param {number} ts */
export function dayKey(ts) {
  if (!isTime(ts)) return 'unknown';
  const date = new Date(ts);
  return `${date.getFullYear()}-${date.getMonth() + 1}-${date.getDate()}`;
}

/** Days between two timestamps, by the calendar. @param {number} ts @param {number} now */
function daysAgo(ts, now) {
  return Math.round((new Date(now).setHours(0, 0, 0, 0) - new Date(ts).setHours(0, 0, 0, 0)) / DAY_MS);
}

/** "Today", "Yesterday", "Monday, 3 March". @param {number} ts @param {number} [now] */
export function dayName(ts, now = Date.now()) {
  if (!isTime(ts)) return 'Some day';
  const days = daysAgo(ts, now);
  if (days === 0) return 'Today';
  if (days === 1) return 'Yesterday';
  if (days > 0 && days < 300) return longDate.format(ts);
  return fullDate.format(ts);
}

/** As short as a list of chats needs it. @param {number} ts @param {number} [now] */
export function shortTime(ts, now = Date.now()) {
  if (!isTime(ts) || ts === 0) return '';
  if (Math.abs(now - ts) < MINUTE_MS) return 'now';
  const days = daysAgo(ts, now);
  if (days === 0) return clock.format(ts);
  if (days === 1) return 'Yesterday';
  if (days > 1 && days < 7) return weekday.format(ts);
  return shortDate.format(ts);
}

/** @param {any} bytes */
export function sizeOf(bytes) {
  if (typeof bytes !== 'number' || !Number.isFinite(bytes) || bytes < 0) return '';
  const units = ['bytes', 'KB', 'MB', 'GB', 'TB'];
  let at = 0;
  let value = bytes;
  while (value >= 1000 && at < units.length - 1) {
    value /= 1000;
    at += 1;
  }
  return `${at === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[at]}`;
}

/** @param {number} count @param {string} one @param {string} [many] */
export function plural(count, one, many = `${one}s`) {
  return `${count} ${count === 1 ? one : many}`;
}

/** The part of a user id that people know. @param {string} userId */
export function localpart(userId) {
  const end = userId.indexOf(':');
  return end > 1 ? userId.slice(1, end) : userId;
}

/** The one or two letters for someone without a picture. @param {string} name */
export function initials(name) {
  const words = name.replace(/^[@#!]/, '').split(/[\s._-]+/u).filter((word) => /[\p{L}\p{N}]/u.test(word));
  const letters = words.slice(0, 2).map((word) => [...word].find((letter) => /[\p{L}\p{N}]/u.test(letter)) ?? '');
  return letters.join('').toUpperCase() || '?';
}

/** A number of 0…7 that stays the same for the same id: which colour it has. @param {string} id */
export function hueOf(id) {
  let hash = 0;
  for (const letter of id) hash = (hash * 31 + (letter.codePointAt(0) ?? 0)) >>> 0;
  return hash % 8;
}

/** "Anna", "Anna and Ben", "Anna, Ben and 3 others". @param {string[]} names @param {number} [total] */
export function listOf(names, total = names.length) {
  if (names.length === 0) return '';
  const shown = names.slice(0, total > 3 ? 2 : 3);
  const others = total - shown.length;
  if (others > 0) return `${shown.join(', ')} and ${plural(others, 'other')}`;
  if (shown.length === 1) return shown[0];
  return `${shown.slice(0, -1).join(', ')} and ${shown[shown.length - 1]}`;
}
