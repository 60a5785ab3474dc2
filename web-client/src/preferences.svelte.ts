// What a person set once for every meeting on this browser, besides devices.

import type { Strength } from './media/background/wire';
import type { ScreenHint } from './media/devices';
import { readSound, type Sound, writtenSound } from './media/sound';
import { remember, remembered } from './storage';

export type Background = 'off' | Strength;

class Preferences {
  #mirror = $state(remembered('mirror') !== 'off');
  #pushToTalk = $state(remembered('push_to_talk') !== 'off');
  #background = $state<Background>(readBackground(remembered('background')));
  #sound = $state.raw<Sound>(readSound(remembered('sound')));
  #screenHint = $state<ScreenHint>(
    remembered('screen')?.startsWith('motion') ? 'motion' : 'detail',
  );
  #screenSound = $state(!remembered('screen')?.endsWith('silent'));

  /** Whether one sees oneself as in a mirror. */
  get mirror(): boolean {
    return this.#mirror;
  }
  set mirror(on: boolean) {
    this.#mirror = on;
    remember('mirror', on ? 'on' : 'off');
  }

  get pushToTalk(): boolean {
    return this.#pushToTalk;
  }
  set pushToTalk(on: boolean) {
    this.#pushToTalk = on;
    remember('push_to_talk', on ? 'on' : 'off');
  }

  get background(): Background {
    return this.#background;
  }
  set background(background: Background) {
    this.#background = background;
    remember('background', background);
  }

  get sound(): Sound {
    return this.#sound;
  }
  set sound(sound: Sound) {
    this.#sound = sound;
    remember('sound', writtenSound(sound));
  }

  get screenHint(): ScreenHint {
    return this.#screenHint;
  }
  set screenHint(hint: ScreenHint) {
    this.#screenHint = hint;
    this.#rememberScreen();
  }

  get screenSound(): boolean {
    return this.#screenSound;
  }
  set screenSound(on: boolean) {
    this.#screenSound = on;
    this.#rememberScreen();
  }

  #rememberScreen(): void {
    remember('screen', `${this.#screenHint} ${this.#screenSound ? 'sound' : 'silent'}`);
  }
}

function readBackground(text: string | undefined): Background {
  return text === 'light' || text === 'strong' ? text : 'off';
}

export const preferences = new Preferences();
