import { expect, test } from '@playwright/test';
import { climbsAndFalls } from './support/ladder';

// It asserts how long things take, on a machine that may be busy with something else: best of three.
test.describe.configure({ retries: 2 });

test('layers follow the tile and the link, and the picture never breaks', () =>
  climbsAndFalls({
    query: '',
    name: 'simulcast',
    least: { frames: 160, gapMs: 500 },
    sending: async (publisher) => expect((await publisher.outboundVideo()).length).toBe(3),
  }));
