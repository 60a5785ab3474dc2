// The catalogue of keyboard shortcuts: the keys of a meeting, the dialog and the help page that list
// them, and the hints on buttons all read it. Single keys, which can be switched off (WCAG 2.1.4).

import type { TextKey } from '../i18n/texts';

export type Action =
  | 'microphone'
  | 'camera'
  | 'screen'
  | 'hand'
  | 'chat'
  | 'text'
  | 'people'
  | 'link'
  | 'help';

export interface Shortcut {
  action: Action;
  /** As `KeyboardEvent.key` says it, in lower case. */
  key: string;
  /** What it does. */
  text: TextKey;
  /** `sender`: for those who may send sound and pictures; viewers have no such thing to switch. */
  where: 'meeting' | 'sender';
}

export const SHORTCUTS: readonly Shortcut[] = [
  { action: 'microphone', key: 'm', text: 'shortcuts.microphone', where: 'sender' },
  { action: 'camera', key: 'c', text: 'shortcuts.camera', where: 'sender' },
  { action: 'screen', key: 's', text: 'shortcuts.screen', where: 'sender' },
  { action: 'hand', key: 'h', text: 'shortcuts.hand', where: 'meeting' },
  { action: 'chat', key: 't', text: 'shortcuts.chat', where: 'meeting' },
  { action: 'text', key: 'r', text: 'shortcuts.text', where: 'meeting' },
  { action: 'people', key: 'p', text: 'shortcuts.people', where: 'meeting' },
  { action: 'link', key: 'l', text: 'shortcuts.link', where: 'meeting' },
  { action: 'help', key: '?', text: 'shortcuts.help', where: 'meeting' },
];

/** A key press, as much of it as matters here. */
export interface KeyPress {
  key: string;
  ctrlKey: boolean;
  metaKey: boolean;
  altKey: boolean;
  repeat: boolean;
  /** The focused element takes text, or chooses by letters as lists and menus do. */
  typing: boolean;
}

export function shortcutFor(press: KeyPress): Action | undefined {
  if (press.typing || press.repeat || press.ctrlKey || press.metaKey || press.altKey) {
    return undefined;
  }
  return SHORTCUTS.find(({ key }) => key === press.key.toLowerCase())?.action;
}

/** The key of an action, as it is printed on the keyboard. */
export function keyOf(action: Action): string {
  const shortcut = SHORTCUTS.find((shortcut) => shortcut.action === action);
  return shortcut ? printed(shortcut.key) : '';
}

export function printed(key: string): string {
  return key === ' ' ? '␣' : key.toUpperCase();
}

const TYPING = 'input, textarea, select, [contenteditable], [role="menu"], [role="dialog"]';

export function isTyping(target: EventTarget | null): boolean {
  return target instanceof Element && target.closest(TYPING) !== null;
}
