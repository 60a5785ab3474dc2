// The REST interface, `/api/v1/rooms`.

import type { Lobby } from './messages';

export interface CreatedRoom {
  id: string;
  code: string;
  title: string;
  url: string;
  moderator_token: string;
}

/** `code` is the word of the error's body, or `network` when no answer came. */
export class ApiError extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** Without `lobby` it is as the server is configured. */
export function createRoom(title: string, lobby?: Lobby): Promise<CreatedRoom> {
  return fetchApi<CreatedRoom>('POST', '/api/v1/rooms', { body: { title, lobby } });
}

export async function endRoom(id: string, token: string): Promise<void> {
  await fetchApi<unknown>('DELETE', `/api/v1/rooms/${encodeURIComponent(id)}`, { token });
}

async function fetchApi<T>(
  method: string,
  path: string,
  { body, token }: { body?: unknown; token?: string },
): Promise<T> {
  const headers: Record<string, string> = {};
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (token !== undefined) headers.authorization = `Bearer ${token}`;
  let response: Response;
  try {
    response = await fetch(path, { method, headers, body: JSON.stringify(body) ?? null });
  } catch (error) {
    throw new ApiError('network', String(error));
  }
  const answer: unknown = await response.json().catch(() => undefined);
  if (!response.ok) {
    const { code = 'internal', message = response.statusText } = (answer ?? {}) as {
      code?: string;
      message?: string;
    };
    throw new ApiError(code, message);
  }
  return answer as T;
}
