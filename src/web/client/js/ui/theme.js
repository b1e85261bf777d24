// Dark, light, or as the system has it.

const KEY = 'hearth.theme';

/** @typedef {'system' | 'light' | 'dark'} Theme */

/** @returns {Theme} */
export function theme() {
  const chosen = localStorage.getItem(KEY);
  return chosen === 'light' || chosen === 'dark' ? chosen : 'system';
}

/** @param {Theme} chosen */
export function setTheme(chosen) {
  if (chosen === 'system') localStorage.removeItem(KEY);
  else localStorage.setItem(KEY, chosen);
  applyTheme();
}

export function applyTheme() {
  const chosen = theme();
  const root = document.documentElement;
  if (chosen === 'system') root.removeAttribute('data-theme');
  else root.dataset.theme = chosen;
}

export function isDark() {
  const chosen = theme();
  return chosen === 'dark' || (chosen === 'system' && matchMedia('(prefers-color-scheme: dark)').matches);
}
