import { heading, list, type Section, steps, text } from './help';

export const SECTIONS_EN: readonly Section[] = [
  {
    id: 'joining',
    heading: 'Joining a meeting',
    blocks: [
      text('There is nothing to install and no account to make: an up-to-date browser is enough.'),
      steps(
        'Open the link that you received. Or go to the start page, type the code of the meeting and press [[home.join]].',
        'The browser asks to use the microphone and the camera: choose Allow.',
        'Type your name as you want others to read it.',
        'Look at the preview and speak: the level bar must move.',
        'Press [[join.enter]].',
      ),
      text(
        'You can also enter without a microphone or a camera: you will see and hear the others, and can switch yours on later.',
      ),
      heading('Making a meeting'),
      text(
        'On the start page press [[home.create]]. Whoever makes the meeting is its moderator for as long as the same browser tab stays open. To invite others, open [[controls.more]] and choose [[controls.link_copy]].',
      ),
      heading('When the meeting is not found'),
      text(
        'Check the code digit by digit. A meeting that its moderator ended cannot be opened again: ask for a new invitation.',
      ),
    ],
  },
  {
    id: 'lobby',
    heading: 'The lobby',
    blocks: [
      text(
        'Some meetings have a lobby: after you typed your name you wait until a moderator lets you in. Leave the page open: you enter by yourself as soon as you are admitted. Until then nobody sees or hears you, and you do not see who is there.',
      ),
      text('If the wait is long, call or write to whoever invited you.'),
    ],
  },
  {
    id: 'devices',
    heading: 'Microphone, camera and headphones',
    blocks: [
      text(
        'During the meeting open [[controls.more]] and then [[controls.devices]] to choose another microphone or camera. The choice takes effect at once and is remembered on this device.',
      ),
      list(
        'They cannot hear you: see that the microphone is on in the bar below, then that the right one is chosen under devices, and that no button on your headset has switched it off.',
        'You cannot hear them: turn the volume of your computer up. If [[meeting.audio_play]] appears, press it: the browser waits for a click of yours.',
        'There is an echo: somebody listens by loudspeakers with the microphone on. Headphones remove it.',
        'The camera is in use: close the other programs that use it, then switch it on again.',
        'Two people in one room: only one of them should have the microphone on.',
      ),
    ],
  },
  {
    id: 'permissions',
    heading: 'When the browser does not allow the microphone or the camera',
    blocks: [
      text(
        'The page can use them only if you allow it. If you chose Block by mistake, you can change your mind:',
      ),
      heading('Chrome and Edge, on a computer'),
      steps(
        'Press the icon to the left of the page’s address.',
        'Switch Microphone and Camera on.',
        'Go back to the page and switch the device on again; if that is not enough, reload the page.',
      ),
      heading('Firefox, on a computer'),
      steps(
        'Press the crossed-out microphone or camera to the left of the address.',
        'Remove the block with the cross beside the permission.',
        'Switch the device on again in the page and choose Allow.',
      ),
      heading('Safari, on a Mac'),
      steps(
        'Open the Safari menu and choose Settings for This Website.',
        'At Camera and Microphone choose Allow.',
        'Reload the page.',
      ),
      heading('iPhone and iPad'),
      text(
        'In Safari press the button beside the address, then Website Settings, and allow camera and microphone. If you use another browser, open Settings, find the name of the browser and switch Microphone and Camera on.',
      ),
      heading('Android'),
      text(
        'In Chrome press the icon beside the address, then Permissions, and allow camera and microphone. If that is not enough, open Settings, Apps, Chrome, Permissions.',
      ),
      heading('Permissions of the system'),
      list(
        'Windows: Settings, Privacy & security, Microphone (or Camera); access for apps must be on.',
        'macOS: System Settings, Privacy & Security, Microphone (or Camera); the browser must be in the list and switched on.',
        'Computers of your organisation: some settings are decided by its administrators. If you cannot change them, ask your IT support.',
      ),
    ],
  },
  {
    id: 'sharing',
    heading: 'Sharing your screen',
    blocks: [
      steps(
        'Press [[controls.screen]] in the bar below.',
        'In the browser’s window choose what to show: the whole screen, a window or a tab.',
        'To let others hear its sound too, choose a tab and switch on its audio where the browser offers it.',
        'To finish press [[controls.screen_off]].',
      ),
      text(
        'Show a single window when you can: notifications and confidential documents then stay out of sight. Phones can see a shared screen but usually cannot share theirs.',
      ),
      text(
        'On a Mac the system asks the first time for permission to record the screen: System Settings, Privacy & Security. Then restart the browser.',
      ),
    ],
  },
  {
    id: 'layouts',
    heading: 'How pictures are arranged',
    blocks: [
      text(
        'Pictures arrange themselves: all alike while people talk, with the shared screen large when somebody shows one. When there are more participants than places, whoever speaks takes one. A bright border marks who is speaking.',
      ),
      text('The whole list is always under [[controls.people]], also of those without a picture.'),
    ],
  },
  {
    id: 'connection',
    heading: 'When sound or pictures break off',
    blocks: [
      text(
        'At the top, bars show the quality of your connection. Press them to read what is happening and what you can do.',
      ),
      list(
        'Others hear you badly: turn your camera off. A voice needs far less of the network than pictures.',
        'You hear others badly: choose [[quality.data_saving]] or [[quality.data_audio]].',
        'Move closer to the Wi-Fi or use a cable. A VPN can be slow: if the rules of your office allow it, try without.',
        'Close programs and tabs that you do not use, and stop downloads.',
      ),
      text(
        'When you ask for help, open [[quality.figures]], press [[quality.copy]] and paste the text into your message to the support: it contains no names and no addresses.',
      ),
      text(
        'If the connection breaks, the page reconnects by itself. Do not reload it: a few seconds usually do.',
      ),
    ],
  },
  {
    id: 'chat',
    heading: 'Chat and real-time text',
    blocks: [
      text(
        'In the chat you write to everyone or to a single person. Those who come later do not read earlier messages. Moderators can close the chat.',
      ),
      text(
        'With real-time text others read what you write letter by letter, while you write it. It is made for people who are deaf, who cannot speak, or whose microphone is broken: the conversation flows as it does by voice.',
      ),
    ],
  },
  {
    id: 'moderators',
    heading: 'What moderators do',
    blocks: [
      text('A moderator can, depending on how the meeting was prepared:'),
      list(
        'admit or refuse those in the lobby, and lock the meeting;',
        'switch a participant’s microphone or camera off: nobody can switch them on in their place;',
        'give the floor to those who raise a hand, and put a person in front for everyone;',
        'decide whether others may use microphone, camera, sharing and chat;',
        'make others moderators, and remove a participant;',
        'end the meeting for everyone: [[controls.more]], then [[controls.end]].',
      ),
      text(
        'If the moderator leaves, the meeting goes on. A public meeting is better off with two.',
      ),
    ],
  },
  {
    id: 'shortcuts',
    heading: 'Using the keyboard',
    blocks: [
      text(
        'Every control can be reached with Tab and used with Enter or Space; Esc closes dialogs, menus and panels; arrow keys move within menus. Besides, while you are not typing in a field, these keys work during a meeting:',
      ),
      { kind: 'shortcuts' },
      text(
        'If they are in your way, for example because you use voice control, you can switch them off: [[controls.more]], [[controls.shortcuts]].',
      ),
    ],
  },
  {
    id: 'phones',
    heading: 'On a phone',
    blocks: [
      list(
        'Open the link in the browser of the phone, not inside a mail or messaging app: if the meeting does not start, look for the entry that opens the page in the browser.',
        'Use headphones and plug the phone in: video drains the battery.',
        'Away from Wi-Fi choose [[quality.data_saving]].',
        'When a call comes in, the microphone may stay in use: after the call switch it off and on.',
        'Keep the page open: when you change to another app, the phone may switch the camera off.',
      ),
    ],
  },
  {
    id: 'tour',
    heading: 'Guided tour',
    blocks: [
      text(
        'In your first meeting a short tour shows the main controls. You can see it again during a meeting, from [[controls.more]], [[tour.start]], or ask for it here.',
      ),
      { kind: 'tour' },
    ],
  },
  {
    id: 'browsers',
    heading: 'Browsers',
    blocks: [
      text('Use the latest version of your browser. Each version of Broletto is tested with:'),
      list(
        'Chromium, on which Chrome, Edge and many others are based;',
        'Firefox, in its extended support release.',
      ),
      text(
        'Safari on Mac, iPhone and iPad follows the same standards but is not part of the automatic tests: if you find a problem, report it. Internet Explorer and very old versions do not work.',
      ),
      text('The page must be opened securely, with https.'),
    ],
  },
  {
    id: 'privacy',
    heading: 'Your data',
    blocks: [
      text(
        'This is what the program Broletto does; the organisation that uses it gives the full notice.',
      ),
      list(
        'Sound and pictures pass through the organisation’s server, encrypted on the way, and are not recorded.',
        'The name that you type is kept while you take part, then deleted.',
        'Chat messages stay on the server for as long as it takes to show them to those who lose the connection for a moment, never longer than the meeting lives, and the last 200 at most.',
        'The meeting (its code and title) is deleted after 30 days without participants, or after a week if nobody ever entered.',
        'The technical logs of the server contain no names, network addresses or access keys.',
        'Your browser remembers language, name, chosen devices, shortcuts, data saving and whether you saw the tour. No cookies, no statistics, no service of third parties. To delete it all, remove the data of this site in the settings of the browser.',
      ),
      text(
        'Participants might record by means of their own: if the matter is confidential, ask everyone not to.',
      ),
    ],
  },
  {
    id: 'accessibility',
    heading: 'Accessibility',
    blocks: [
      text(
        'The pages are designed to meet WCAG 2.1, level AA, and the standard EN 301 549. This is not the accessibility statement of the organisation: it only says how the program is made.',
      ),
      list(
        'Everything can be used by keyboard alone; the shortcuts can be switched off.',
        'Screen readers hear who comes, who goes, who shares, and when the microphone changes.',
        'The pages can be enlarged to 200 %, accept wider spacing of text, and respect the high-contrast colours of the system and the wish for fewer animations.',
        'Nothing is told by colour alone.',
      ),
      heading('What is still missing'),
      list(
        'The pages are checked by automatic tools at every change and tried by keyboard alone; people who use screen readers have not tested them yet.',
        'There are no automatic captions. Real-time text and an interpreter in front are the alternatives.',
        'What is on a shared screen is a picture: whoever presents should describe it or hand the document out.',
      ),
      text('If you find an obstacle, tell the organisation that invited you.'),
    ],
  },
];
