/**
 * Cameras and microphones of the test participants: each has a colour and a tone of its own, so
 * that a test can tell whose picture a tile shows and whose voice an audio element plays.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Persona {
  name: string;
  /** Colour of the camera picture, as hue in degrees. */
  hue: number;
  /** Frequency of the voice, in Hz. */
  tone: number;
}

export const anna: Persona = { name: 'Anna Rossi', hue: 0, tone: 500 };
export const bruno: Persona = { name: 'Bruno Bianchi', hue: 120, tone: 1_100 };
export const carla: Persona = { name: 'Carla Verdi', hue: 240, tone: 1_900 };

export interface Size {
  width: number;
  height: number;
}

const folder = join(tmpdir(), 'broletto-test-media');

/** A camera of this size, in the persona's colour, with a moving pattern over it. */
export function cameraFile(persona: Persona, { width, height }: Size): string {
  const [red, green, blue] = hueToRgb(persona.hue);
  const hex = [red, green, blue].map((part) => part.toString(16).padStart(2, '0')).join('');
  // A moving noise stripe keeps the encoder as busy as a person would.
  const filter =
    `color=c=0x${hex}:s=${width}x${height}:r=30[back];` +
    `testsrc2=s=${width / 2}x${height / 4}:r=30[front];` +
    `[back][front]overlay=x='(W-w)*(0.5+0.5*sin(t*2))':y='(H-h)*(0.5+0.5*cos(t*3))'`;
  return made(`camera-${persona.hue}-${width}x${height}.mjpeg`, [
    ...[
      '-f',
      'lavfi',
      '-i',
      filter,
      '-t',
      '6',
      '-c:v',
      'mjpeg',
      '-pix_fmt',
      'yuvj420p',
      '-q:v',
      '4',
      '-f',
      'mjpeg',
    ],
  ]);
}

/** A voice: the tone, swelling and fading as speech does, so that noise suppression lets it pass. */
export function voiceFile(persona: Persona): string {
  const wave = `0.5*sin(2*PI*${persona.tone}*t)*(0.55+0.45*sin(2*PI*3*t))*gt(mod(t\\,1.2)\\,0.2)`;
  return made(`voice-${persona.tone}.wav`, [
    ...['-f', 'lavfi', '-i', `aevalsrc='${wave}':s=48000:d=6`, '-ac', '1', '-f', 'wav'],
  ]);
}

function made(name: string, argumentsOfFfmpeg: string[]): string {
  const path = join(folder, name);
  if (!existsSync(path)) {
    mkdirSync(folder, { recursive: true });
    const draft = `${path}.${process.pid}.draft`;
    execFileSync('ffmpeg', ['-loglevel', 'error', '-y', ...argumentsOfFfmpeg, draft]);
    renameSync(draft, path);
  }
  return path;
}

function hueToRgb(hue: number): [number, number, number] {
  const part = (offset: number) => {
    const k = (offset + hue / 60) % 6;
    return Math.round(200 * (1 - Math.max(0, Math.min(k, 4 - k, 1))) + 30);
  };
  return [part(5), part(3), part(1)];
}
