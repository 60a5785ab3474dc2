import { afterEach, expect, it, vi } from 'vitest';
import { LocalMedia } from './local.svelte';

afterEach(() => vi.unstubAllGlobals());

function track(kind: string) {
  return { kind, readyState: 'live', contentHint: '', stop: vi.fn() };
}

it('stops a screen that is chosen after the meeting has ended', async () => {
  const [video, audio] = [track('video'), track('audio')];
  let choose = (_: unknown) => {};
  const chosen = new Promise((resolve) => {
    choose = resolve;
  });
  vi.stubGlobal('navigator', {
    mediaDevices: {
      addEventListener: vi.fn(),
      removeEventListener: vi.fn(),
      enumerateDevices: async () => [],
      getDisplayMedia: () => chosen,
    },
  });
  const local = new LocalMedia({ width: 1280, height: 720 });
  const sharing = local.shareScreen();
  expect(local.screen.status).toBe('starting');
  local.close();
  choose({ getVideoTracks: () => [video], getAudioTracks: () => [audio] });
  await sharing;
  expect(local.screen.status).toBe('off');
  expect(video.stop).toHaveBeenCalledOnce();
  expect(audio.stop).toHaveBeenCalledOnce();
});
