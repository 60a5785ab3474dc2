// Texts of the guided tour, in both languages.

export const tourIt = {
  label: 'Visita guidata',
  count: 'Passo {{step}} di {{steps}}',
  microphone: 'Il tuo microfono',
  microphone_text:
    'Quando è rosso e barrato nessuno ti sente. Tienilo spento mentre ascolti: la riunione sarà più silenziosa.',
  camera: 'La tua videocamera',
  camera_text: 'Accendila o spegnila quando vuoi. Da spenta, gli altri vedono le tue iniziali.',
  screen: 'Mostra lo schermo',
  screen_text:
    'Scegli se condividere tutto lo schermo, una finestra o una scheda. Gli altri vedono solo ciò che hai scelto.',
  people: 'Chi c’è',
  people_text: 'Qui trovi l’elenco dei partecipanti e vedi chi ha il microfono acceso.',
  quality: 'La tua connessione',
  quality_text:
    'Le tacche dicono come va la rete. Premile per sapere che cosa fare e per risparmiare dati.',
  more: 'Tutto il resto',
  more_text: 'Invito, dispositivi, scorciatoie, lingua e aiuto sono in questo menu.',
  leave: 'Per uscire',
  leave_text: 'Con questo pulsante lasci la riunione. Gli altri continuano senza di te.',
  next: 'Avanti',
  back: 'Indietro',
  done: 'Ho capito',
  skip: 'Salta la visita',
  start: 'Visita guidata',
};

export const tourEn: Record<keyof typeof tourIt, string> = {
  label: 'Guided tour',
  count: 'Step {{step}} of {{steps}}',
  microphone: 'Your microphone',
  microphone_text:
    'While it is red and crossed out nobody hears you. Keep it off while you listen: the meeting will be quieter.',
  camera: 'Your camera',
  camera_text: 'Switch it on or off whenever you like. While it is off, others see your initials.',
  screen: 'Show your screen',
  screen_text:
    'Choose whether to share the whole screen, a window or a tab. Others see only what you chose.',
  people: 'Who is here',
  people_text: 'Here is the list of participants, and whose microphone is on.',
  quality: 'Your connection',
  quality_text: 'The bars say how the network is doing. Press them for advice, and to save data.',
  more: 'Everything else',
  more_text: 'Invitation, devices, shortcuts, language and help are in this menu.',
  leave: 'To leave',
  leave_text: 'This button takes you out of the meeting. The others go on without you.',
  next: 'Next',
  back: 'Back',
  done: 'Got it',
  skip: 'Skip the tour',
  start: 'Guided tour',
};
