// What assistive technology is told of what happens elsewhere on the page.

const KEEP_MS = 5_000;
const MESSAGES_MAX = 5;

let messages = $state.raw<readonly { id: number; text: string }[]>([]);
let lastId = 0;

export function announce(text: string): void {
  lastId += 1;
  const id = lastId;
  messages = [...messages, { id, text }].slice(-MESSAGES_MAX);
  setTimeout(() => {
    messages = messages.filter((message) => message.id !== id);
  }, KEEP_MS);
}

export function announced(): readonly { id: number; text: string }[] {
  return messages;
}
