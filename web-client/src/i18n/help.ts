// Texts of the frame of the help page, in both languages. What it says is in `pages/help`.

export const helpIt = {
  title: 'Aiuto · Broletto',
  link: 'Aiuto',
  heading: 'Aiuto',
  lead: 'Come entrare in una riunione, che cosa fare se qualcosa non va e come usare tutte le funzioni.',
  contents: 'In questa pagina',
  top: 'Torna all’indice',
  print: 'Stampa questa pagina',
  apart: '(si apre in un’altra scheda)',
  new_tab: 'Aiuto (si apre in un’altra scheda)',
  tour: 'Mostra la visita guidata alla prossima riunione',
  tour_done: 'Fatto: la visita guidata comparirà quando entri nella prossima riunione.',
};

export const helpEn: Record<keyof typeof helpIt, string> = {
  title: 'Help · Broletto',
  link: 'Help',
  heading: 'Help',
  lead: 'How to join a meeting, what to do when something goes wrong, and how to use everything there is.',
  contents: 'On this page',
  top: 'Back to the contents',
  print: 'Print this page',
  apart: '(opens in another tab)',
  new_tab: 'Help (opens in another tab)',
  tour: 'Show the guided tour in my next meeting',
  tour_done: 'Done: the guided tour will appear when you enter your next meeting.',
};
