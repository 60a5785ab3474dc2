import { afterEach, expect, it, vi } from 'vitest';
import { LocalMedia } from './local.svelte';

afterEach(() => vi.unstubAllGlobals());

function track(kind: string) {
  return { kind, readyState: 'live', contentHint: '', stop: vi.fn() };
}

it('keeps the devices it knows when the browser refuses to list them', async () => {
  const microphone = { kind: 'audioinput', deviceId: 'm' };
  const list = vi.fn(async () => [microphone]);
  let change = () => {};
  vi.stubGlobal('navigator', {
    mediaDevices: {
      addEventListener: (_: string, listener: () => void) => {
        change = listener;
      },
      enumerateDevices: list,
    },
  });
  const said = vi.spyOn(console, 'info').mockImplementation(() => {});
  const local = new LocalMedia({ width: 1280, height: 720 });
  await vi.waitFor(() => expect(local.devices.microphones).toEqual([microphone]));
  list.mockRejectedValueOnce(new DOMException('the page is hidden', 'InvalidStateError'));
  change();
  await vi.waitFor(() => expect(said).toHaveBeenCalledOnce());
  expect(local.devices.microphones).toEqual([microphone]);
  said.mockRestore();
});

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
