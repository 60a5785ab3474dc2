// What the browser remembers for its user. Storage may be switched off or full: then nothing is
// remembered, and nothing else goes wrong.

type Remembered =
  | 'language'
  | 'name'
  | 'microphone'
  | 'camera'
  | 'speaker'
  | 'sound'
  | 'background'
  | 'mirror'
  | 'push_to_talk'
  | 'screen'
  | 'shortcuts'
  | 'data'
  | 'tour'
  | 'layout'
  | 'self_view';

export function remembered(key: Remembered): string | undefined {
  return read(() => localStorage, key);
}

export function remember(key: Remembered, value: string): void {
  write(() => localStorage, key, value);
}

export function forget(key: Remembered): void {
  try {
    localStorage.removeItem(`broletto.${key}`);
  } catch {
    // See the head of this file.
  }
}

/** The token that makes the creator of a room its moderator, for as long as the tab lives. */
export function rememberedToken(code: string): string | undefined {
  return read(() => sessionStorage, `token.${code}`);
}

export function rememberToken(code: string, token: string): void {
  write(() => sessionStorage, `token.${code}`, token);
}

export function forgetToken(code: string): void {
  try {
    sessionStorage.removeItem(`broletto.token.${code}`);
  } catch {
    // See the head of this file.
  }
}

function read(storage: () => Storage, key: string): string | undefined {
  try {
    return storage().getItem(`broletto.${key}`) ?? undefined;
  } catch {
    return undefined;
  }
}

function write(storage: () => Storage, key: string, value: string): void {
  try {
    storage().setItem(`broletto.${key}`, value);
  } catch {
    // See the head of this file.
  }
}
