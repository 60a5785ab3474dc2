import { describe, expect, it } from 'vitest';
import { ParseError, parseServerFrame } from './parse';

describe('parseServerFrame', () => {
  it.each([
    ['', 'not a JSON message'],
    ['[]', 'message.type: expected a string'],
    ['{"type":"answer"}', 'answer.sdp: expected a string, got undefined'],
    ['{"type":"answer","sdp":"","reply_to":"1"}', 'message.reply_to: expected a number'],
    ['{"type":"slots","slots":[{"mid":"1","shows":{"participant":"2"}}]}', 'slots.slots[0].shows'],
    ['{"type":"video_codec","codec":"h265"}', 'video_codec.codec: expected one of h264'],
    ['{"type":"speakers","speakers":{}}', 'speakers.speakers: expected a list'],
  ])('names what is wrong in %s', (text, part) => {
    expect(() => parseServerFrame(text)).toThrow(ParseError);
    expect(() => parseServerFrame(text)).toThrow(part);
  });

  it('passes over messages and fields of a later version', () => {
    expect(parseServerFrame('{"type":"weather","sun":true}')).toBeUndefined();
    expect(parseServerFrame('{"type":"toString"}')).toBeUndefined();
    expect(parseServerFrame('{"type":"pong","reply_to":4,"later":1}')).toMatchObject({
      type: 'pong',
      reply_to: 4,
    });
  });
});
