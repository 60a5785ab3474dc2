// Lobby, moderation, hands, reactions, chat and real-time text among people at the real program.

import { test as base, expect as browserExpect, type Page } from './support/pages';
import { announced, dropWebSocket, People } from './support/people';

const test = base.extend<{ people: People }>({
  people: async ({ browser, service }, use) => {
    const people = new People(browser, service.url);
    await use(people);
    await people.close();
  },
});

// Up to seven pages share the machine's two cores.
const expect = browserExpect.configure({ timeout: 15_000 });

const person = (page: Page, name: string) => page.getByTestId('person').filter({ hasText: name });

async function openMenu(page: Page, name: string): Promise<void> {
  await person(page, name).getByTestId('person-menu').click();
}

async function expectAnnounced(page: Page, text: string): Promise<void> {
  await expect.poll(() => announced(page)).toContain(text);
}

async function write(page: Page, text: string): Promise<void> {
  await page.getByTestId('chat-field').fill(text);
  await page.getByTestId('chat-field').press('Enter');
}

test('w4_who_waits_is_told_nothing_and_comes_in_when_admitted', async ({ people }) => {
  const { page: chair, link } = await people.chair('Carla Verdi', 'everyone');
  const heard: string[] = [];
  const ada = await people.knock(link, 'Ada Bianchi', (page) =>
    page.on('websocket', (socket) =>
      socket.on('framereceived', ({ payload }) => heard.push(String(payload))),
    ),
  );
  await expect(ada.getByTestId('waiting')).toBeVisible();
  await expect(ada.getByTestId('waiting').getByRole('heading').first()).toBeFocused();
  await expectAnnounced(chair, 'Ada Bianchi is waiting to come in');
  await expect(chair.getByTestId('toggle-people-badge')).toHaveText('1');
  await expect(chair.getByTestId('lobby-banner')).toContainText('Ada Bianchi');
  expect(heard.map((text) => JSON.parse(text).type)).toEqual(['waiting']);
  expect(heard.join()).not.toContain('Carla');

  await chair.getByTestId('lobby-banner-admit').click();
  await expect(ada.getByTestId('meeting')).toBeVisible();
  await expectAnnounced(ada, 'You are in the meeting');
  await expect(chair.getByTestId('lobby-banner')).toBeHidden();
  await ada.getByTestId('toggle-people').click();
  await expect(person(ada, 'Carla Verdi')).toContainText('Moderator');
  // Guests neither see who waits nor decide about it.
  await expect(ada.getByTestId('mute-all')).toBeHidden();
});

test('a moderator refuses one, admits two at once, and somebody gives up', async ({ people }) => {
  const { page: chair, link } = await people.chair('Carla Verdi', 'guests');
  const names = ['Ada Bianchi', 'Bo Rossi', 'Dino Neri', 'Elsa Gallo'];
  const guests: Page[] = [];
  for (const name of names) {
    const guest = await people.knock(link, name);
    await expect(guest.getByTestId('waiting')).toBeVisible();
    guests.push(guest);
  }
  const [ada, bo, dino, elsa] = guests as [Page, Page, Page, Page];
  await chair.getByTestId('toggle-people').click();
  await expect(chair.getByTestId('waiting-person')).toHaveCount(4);

  await chair.getByRole('button', { name: /Refuse.*Ada Bianchi/ }).click();
  await expect(ada.getByTestId('end-page')).toHaveAttribute('data-reason', 'refused');
  await expect(ada.getByTestId('rejoin')).toBeHidden();

  await elsa.getByTestId('waiting-leave').click();
  await expect(elsa.getByTestId('end-page')).toHaveAttribute('data-reason', 'left');
  await expect(chair.getByTestId('waiting-person')).toHaveCount(2);

  await chair.getByTestId('admit-all').click();
  await expect(bo.getByTestId('meeting')).toBeVisible();
  await expect(dino.getByTestId('meeting')).toBeVisible();
  await expect(chair.getByTestId('lobby')).toBeHidden();
  await expect(chair.getByTestId('person')).toHaveCount(3);
});

test('a moderator mutes, sets what is allowed, locks, shares the role and removes', async ({
  people,
}) => {
  const { page: chair, link } = await people.chair('Carla Verdi', 'off');
  const ada = await people.join(link, 'Ada Bianchi');
  await expect(ada.getByTestId('toggle-microphone')).toHaveAttribute('data-on', 'on');
  await chair.getByTestId('toggle-people').click();
  await expect(person(chair, 'Ada Bianchi')).toContainText('microphone on');

  await test.step('muted, and says who did it', async () => {
    await openMenu(chair, 'Ada Bianchi');
    await chair.getByTestId('mute').click();
    await expect(ada.getByTestId('toggle-microphone')).toHaveAttribute('data-on', 'off');
    await expect(ada.getByTestId('notice')).toContainText('Carla Verdi');
    await expect(person(chair, 'Ada Bianchi')).toContainText('microphone off');
    await openMenu(chair, 'Ada Bianchi');
    await chair.getByTestId('stop-video').click();
    await expect(ada.getByTestId('toggle-camera')).toHaveAttribute('data-on', 'off');
    // One may come back on, since the room allows it.
    await ada.getByTestId('toggle-microphone').click();
    await expect(person(chair, 'Ada Bianchi')).toContainText('microphone on');
    await chair.getByTestId('mute-all').click();
    await expect(ada.getByTestId('toggle-microphone')).toHaveAttribute('data-on', 'off');
    await expect(chair.getByTestId('toggle-microphone')).toHaveAttribute('data-on', 'on');
  });

  await test.step('what the room does not allow cannot be switched on', async () => {
    await chair.getByTestId('room-settings').click();
    for (const source of ['microphone', 'screen', 'chat']) {
      await chair.getByTestId(`room-allowed-${source}`).uncheck();
    }
    const microphone = ada.getByTestId('toggle-microphone');
    await expect(microphone).toHaveAttribute('aria-disabled', 'true');
    await expect(microphone).toHaveAccessibleDescription(/moderator/);
    await expect(ada.getByTestId('toggle-screen')).toHaveAttribute('aria-disabled', 'true');
    await ada.keyboard.press('m');
    await expectAnnounced(ada, 'switched off the microphones');
    await expect(microphone).toHaveAttribute('data-on', 'off');
    await ada.getByTestId('toggle-chat').click();
    await expect(ada.getByTestId('chat-not-allowed')).toBeVisible();
    // Who comes later with the microphone on has it switched off.
    const bo = await people.join(link, 'Bo Rossi');
    await expect(bo.getByTestId('toggle-microphone')).toHaveAttribute('data-on', 'off');
    await expect(bo.getByTestId('toggle-camera')).toHaveAttribute('data-on', 'on');
    await expect(bo.getByTestId('notice')).toBeVisible();
    await bo.getByTestId('leave').click();
    await chair.getByTestId('room-allowed-chat').check();
    await expect(ada.getByTestId('chat-field')).toBeVisible();
  });

  await test.step('a locked room lets nobody in without a moderator', async () => {
    await chair.getByTestId('room-locked').check();
    await chair.keyboard.press('Escape');
    await expect(chair.getByTestId('room-dialog')).toBeHidden();
    const dino = await people.knock(link, 'Dino Neri');
    await expect(dino.getByTestId('waiting')).toBeVisible();
    await expect(chair.getByTestId('waiting-person')).toContainText('Dino Neri');
  });

  await test.step('another moderator, who sees the lobby, and loses the role again', async () => {
    await openMenu(chair, 'Ada Bianchi');
    await chair.getByTestId('make-moderator').click();
    await expectAnnounced(ada, 'You are a moderator now');
    await expect(ada.getByTestId('toggle-people-badge')).toHaveText('1');
    await expect(ada.getByTestId('toggle-microphone')).not.toHaveAttribute('aria-disabled', 'true');
    await openMenu(chair, 'Ada Bianchi');
    await chair.getByTestId('make-participant').click();
    await expect(ada.getByTestId('toggle-people-badge')).toBeHidden();
  });

  await test.step('in front for everyone', async () => {
    await openMenu(chair, 'Ada Bianchi');
    await chair.getByTestId('spotlight').click();
    await expectAnnounced(ada, 'in front for everyone');
    await expect(person(chair, 'Ada Bianchi').getByTestId('person-details')).toContainText(
      'In front',
    );
  });

  await test.step('removed, after a question', async () => {
    await openMenu(chair, 'Ada Bianchi');
    await chair.getByTestId('remove').click();
    await chair.keyboard.press('Escape');
    await expect(ada.getByTestId('meeting')).toBeVisible();
    await openMenu(chair, 'Ada Bianchi');
    await chair.getByTestId('remove').click();
    await chair.getByTestId('remove-confirm').click();
    await expect(ada.getByTestId('end-page')).toHaveAttribute('data-reason', 'removed');
    await expect(person(chair, 'Ada Bianchi')).toBeHidden();
  });
});

test('hands are raised in order, and reactions are seen and announced', async ({ people }) => {
  const { page: chair, link } = await people.chair('Carla Verdi', 'off');
  const [ada, bo] = [await people.join(link, 'Ada Bianchi'), await people.join(link, 'Bo Rossi')];
  await chair.getByTestId('toggle-people').click();
  await bo.keyboard.press('h');
  await expect(bo.getByTestId('toggle-hand')).toHaveAttribute('data-on', 'on');
  await expectAnnounced(bo, 'Your hand is raised');
  await expectAnnounced(chair, 'Bo Rossi raised a hand');
  await ada.getByTestId('toggle-hand').click();
  await expect(chair.getByTestId('person-hand')).toHaveCount(2);
  const rows = chair.getByTestId('person');
  await expect(rows.nth(0)).toContainText('Bo Rossi');
  await expect(rows.nth(0).getByTestId('person-hand')).toContainText('Hand raised, number 1');
  await expect(rows.nth(1)).toContainText('Ada Bianchi');
  await expect(rows.nth(1).getByTestId('person-hand')).toContainText('Hand raised, number 2');

  await openMenu(chair, 'Bo Rossi');
  await chair.getByTestId('lower-hand').click();
  await expect(bo.getByTestId('toggle-hand')).toHaveAttribute('data-on', 'off');
  await expectAnnounced(bo, 'Your hand is lowered');
  await expect(rows.nth(0)).toContainText('Ada Bianchi');

  await ada.getByTestId('open-reactions').click();
  await ada.getByTestId('react-applause').click();
  await expect(person(chair, 'Ada Bianchi').locator('[data-reaction="applause"]')).toBeVisible();
  await expectAnnounced(chair, 'Ada Bianchi applauds');
  await expect(person(chair, 'Ada Bianchi').locator('[data-reaction]')).toBeHidden();
});

test('people write to all and to one, and nothing typed is lost', async ({ people }) => {
  const { page: chair, link } = await people.chair('Carla Verdi', 'off');
  const [ada, bo] = [await people.join(link, 'Ada Bianchi'), await people.join(link, 'Bo Rossi')];
  await chair.getByTestId('toggle-chat').click();
  await write(chair, 'Good day to all');
  await expect(ada.getByTestId('toggle-chat-badge')).toHaveText('1');
  await expectAnnounced(ada, 'Message from Carla Verdi: Good day to all');

  await ada.keyboard.press('t');
  await expect(ada.getByTestId('toggle-chat-badge')).toBeHidden();
  await expect(ada.getByTestId('chat-message')).toHaveText(['Good day to all']);
  await ada.getByTestId('chat-field').pressSequentially('One');
  await ada.keyboard.press('Shift+Enter');
  await ada.keyboard.type('Two');
  await ada.keyboard.press('Enter');
  await expect(chair.getByTestId('chat-message').last()).toHaveText(/One\s*Two/);

  await test.step('a private message reaches one only', async () => {
    await chair.getByTestId('chat-to').selectOption({ label: 'Bo Rossi' });
    await write(chair, 'For you alone');
    await expect(chair.getByTestId('chat-private')).toContainText(/Private to .*Bo Rossi/);
    await expectAnnounced(bo, 'Private message from Carla Verdi');
    await bo.getByTestId('toggle-chat').click();
    await expect(bo.getByTestId('chat-private')).toContainText('Private to you');
    await chair.getByTestId('chat-to').selectOption('');
    await write(chair, 'For all again');
    await expect(ada.getByTestId('chat-message').last()).toHaveText('For all again');
    await expect(ada.getByTestId('chat')).not.toContainText('For you alone');
  });

  await test.step('from the list of participants', async () => {
    await ada.getByTestId('toggle-people').click();
    await openMenu(ada, 'Bo Rossi');
    await ada.getByTestId('write').click();
    await expect(ada.getByTestId('chat-field')).toBeFocused();
    await write(ada, 'Psst');
    await expect(bo.getByTestId('chat-message').last()).toHaveText('Psst');
    await expect(chair.getByTestId('chat')).not.toContainText('Psst');
  });

  await test.step('a draft outlives the panel, and a message the connection', async () => {
    await bo.getByTestId('chat-field').fill('Half a sen');
    await bo.getByTestId('chat-close').click();
    await bo.getByTestId('toggle-chat').click();
    await expect(bo.getByTestId('chat-field')).toHaveValue('Half a sen');
    await bo.getByTestId('chat-field').fill('A whole sentence');
    await dropWebSocket(bo);
    await expect(bo.getByTestId('meeting')).toHaveAttribute('data-connection', 'reconnecting');
    await bo.getByTestId('chat-field').press('Enter');
    await write(chair, 'While you were away');
    await expect(bo.getByTestId('meeting')).toHaveAttribute('data-connection', 'joined');
    for (const page of [ada, bo, chair]) {
      const messages = page.getByTestId('chat-message');
      await expect(messages.filter({ hasText: 'A whole sentence' })).toHaveCount(1);
      await expect(messages.filter({ hasText: 'While you were away' })).toHaveCount(1);
    }
    await expect(bo.getByTestId('chat-unsent')).toHaveCount(0);
  });

  await test.step('a message that is too long is not sent', async () => {
    await bo.getByTestId('chat-field').fill('x'.repeat(1_900));
    await expect(bo.getByTestId('chat-count')).toHaveText('100 characters left');
    await bo.getByTestId('chat-field').fill('x'.repeat(2_003));
    await expect(bo.getByTestId('chat-count')).toHaveText('3 characters too many');
    await bo.keyboard.press('Enter');
    await expect(bo.getByTestId('chat-field')).toHaveValue('x'.repeat(2_003));
  });
});

test('real-time text grows under the eyes of the others', async ({ people }) => {
  const { page: chair, link } = await people.chair('Carla Verdi', 'off');
  const ada = await people.join(link, 'Ada Bianchi');
  await ada.keyboard.press('r');
  const field = ada.getByTestId('live-field');
  await expect(field).toBeFocused();
  await ada.keyboard.type('I agree with');
  const caption = chair.getByTestId('captions').locator('p');
  await expect(caption).toContainText('I agree with');
  await expect(caption).toHaveAttribute('data-done', 'false');
  // Letters are no news; the finished line is.
  expect(await announced(chair)).not.toContain('I agree');
  await ada.keyboard.type(' the proposal');
  await expect(caption).toContainText('I agree with the proposal');
  await ada.keyboard.press('Enter');
  await expect(caption).toHaveAttribute('data-done', 'true');
  await expectAnnounced(chair, 'Ada Bianchi writes: I agree with the proposal');
  await expect(field).toHaveValue('');
  await expect(ada.getByTestId('transcript-line')).toContainText('I agree with the proposal');

  await chair.getByTestId('toggle-chat').click();
  await chair.getByTestId('tab-live').click();
  const line = chair.getByTestId('transcript-line');
  await expect(line).toContainText('Ada Bianchi');
  await expect(line).toContainText('I agree with the proposal');
  await ada.keyboard.type('Next');
  await expect(chair.getByTestId('growing-line')).toContainText('Next');
  await field.fill('');
  await expect(chair.getByTestId('growing-line')).toBeHidden();
});

test('w6_names_and_messages_are_inert_text', async ({ people, service }) => {
  const elsewhere: string[] = [];
  const complaints: string[] = [];
  const watch = (page: Page) => {
    page.on('request', (request) => {
      if (!/^(blob|data):/.test(request.url()) && !request.url().startsWith(service.url)) {
        elsewhere.push(request.url());
      }
    });
    page.on('dialog', (dialog) => {
      complaints.push(dialog.message());
      void dialog.dismiss();
    });
    page.on('pageerror', (error) => complaints.push(error.message));
  };
  const { page: chair, link } = await people.chair('Carla Verdi', 'everyone');
  watch(chair);
  await chair.getByTestId('toggle-people').click();
  const names = [
    '<img src=//evil.example/x onerror=alert(1)>',
    '<script>alert(1)</script>',
    '{{constructor.constructor("alert(1)")()}}',
    'Ada \u202egpj.exe',
    'a\u2069\u202eb\u200b',
    '$t(end.home) {{count}}',
  ];
  const guests: Page[] = [];
  for (const name of names) {
    const guest = await people.knock(link, name, watch);
    await expect(guest.getByTestId('waiting')).toContainText('You appear as');
    const waiting = chair.getByTestId('waiting-person');
    await expect(waiting.locator('bdi')).toHaveText(name);
    await chair.getByTestId('admit').click();
    await expect(guest.getByTestId('meeting')).toBeVisible();
    guests.push(guest);
  }
  const listed = chair.getByTestId('person').locator('bdi.name');
  for (const name of names) {
    const entry = listed.filter({ hasText: name });
    await expect(entry).toHaveText(name);
    expect(await entry.evaluate((bdi) => getComputedStyle(bdi).unicodeBidi)).toMatch(/isolate/);
  }
  // What is said in sentences has no controls left that could turn the sentence around.
  await expectAnnounced(chair, '\nab\u200b joined the meeting');
  await expectAnnounced(chair, '$t(end.home) {{count}} joined');

  const messages = [
    '<img src=//evil.example/x onerror=alert(1)>',
    'javascript:alert(1) data:text/html,x //evil.example',
    'https://bank.example@evil.example/ https://\u0430pple.com/x',
    '\u202ehttps://evil.example/\u2066gpj.exe',
    'https://example.org/"onmouseover="alert(1)',
    'first\u202e\nsecond',
  ];
  const [guest] = guests as [Page];
  await guest.getByTestId('toggle-chat').click();
  await chair.getByTestId('toggle-chat').click();
  for (const [index, message] of messages.entries()) {
    await write(guest, message);
    await expect(chair.getByTestId('chat-message')).toHaveCount(index + 1);
  }
  const list = chair.getByTestId('chat-list');
  await expect(list).toContainText('<img src=//evil.example/x onerror=alert(1)>');
  await expect(list.locator('img, script, iframe, style, svg *[onload]')).toHaveCount(0);
  const links = await list.locator('a').evaluateAll((all) =>
    all.map((a) => ({
      href: a.getAttribute('href'),
      rel: a.getAttribute('rel'),
      target: a.getAttribute('target'),
      handlers: a.getAttributeNames().filter((name) => name.startsWith('on')),
    })),
  );
  const safe = { rel: 'noopener noreferrer', target: '_blank', handlers: [] };
  expect(links).toEqual([
    { href: 'https://xn--pple-43d.com/x', ...safe },
    { href: 'https://evil.example/', ...safe },
    { href: 'https://example.org/', ...safe },
  ]);
  await expect(list).toContainText('(xn--pple-43d.com)');
  // Each line runs in its own direction: the override of the first does not turn the second.
  const line = list.getByTestId('chat-message').last().locator('.line').last();
  await expect(line).toHaveText('second');
  expect(await line.evaluate((span) => getComputedStyle(span).direction)).toBe('ltr');
  expect(elsewhere).toEqual([]);
  expect(complaints).toEqual([]);
});
