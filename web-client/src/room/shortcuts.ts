// Every keyboard shortcut of a meeting. Single keys, which can be switched off (WCAG 2.1.4).

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

export const SHORTCUTS: readonly { action: Action; key: string }[] = [
  { action: 'microphone', key: 'm' },
  { action: 'camera', key: 'c' },
  { action: 'screen', key: 's' },
  { action: 'hand', key: 'h' },
  { action: 'chat', key: 't' },
  { action: 'text', key: 'r' },
  { action: 'people', key: 'p' },
  { action: 'link', key: 'l' },
  { action: 'help', key: '?' },
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

const TYPING = 'input, textarea, select, [contenteditable], [role="menu"], [role="dialog"]';

export function isTyping(target: EventTarget | null): boolean {
  return target instanceof Element && target.closest(TYPING) !== null;
}
