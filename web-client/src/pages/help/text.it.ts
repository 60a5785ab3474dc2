import { heading, list, type Section, steps, text } from './help';

export const SECTIONS_IT: readonly Section[] = [
  {
    id: 'joining',
    heading: 'Entrare in una riunione',
    blocks: [
      text('Non serve installare nulla e non serve un account: basta un browser aggiornato.'),
      steps(
        'Apri il collegamento che hai ricevuto. In alternativa vai alla pagina iniziale, scrivi il codice della riunione e premi [[home.join]].',
        'Il browser chiede di usare microfono e videocamera: scegli Consenti.',
        'Scrivi il tuo nome, come vuoi che gli altri lo leggano.',
        'Guarda l’anteprima e parla: la barra del livello deve muoversi.',
        'Premi [[join.enter]].',
      ),
      text(
        'Puoi entrare anche senza microfono o senza videocamera: vedrai e sentirai gli altri, e potrai accenderli più tardi.',
      ),
      heading('Creare una riunione'),
      text(
        'Nella pagina iniziale premi [[home.create]]. Chi crea la riunione ne è il moderatore finché tiene aperta la stessa scheda del browser. Per invitare gli altri, apri [[controls.more]] e scegli [[controls.link_copy]].',
      ),
      heading('Se la riunione non si trova'),
      text(
        'Controlla il codice cifra per cifra. Una riunione terminata dal moderatore non si può riaprire: chiedi un nuovo invito.',
      ),
    ],
  },
  {
    id: 'lobby',
    heading: 'La sala d’attesa',
    blocks: [
      text(
        'Alcune riunioni hanno una sala d’attesa: dopo aver scritto il nome aspetti che un moderatore ti faccia entrare. Lascia aperta la pagina: entrerai da solo appena ti ammettono. Nel frattempo nessuno ti vede né ti sente, e tu non vedi chi c’è.',
      ),
      text('Se l’attesa è lunga, avvisa chi ti ha invitato per telefono o per posta.'),
    ],
  },
  {
    id: 'devices',
    heading: 'Microfono, videocamera e cuffie',
    blocks: [
      text(
        'Durante la riunione apri [[controls.more]] e poi [[controls.devices]] per scegliere un altro microfono o un’altra videocamera. La scelta vale subito e viene ricordata su questo dispositivo.',
      ),
      list(
        'Non ti sentono: controlla che il microfono sia acceso nella barra in basso, poi che nei dispositivi sia scelto quello giusto e che non sia spento da un tasto sulle cuffie.',
        'Non senti gli altri: alza il volume del computer. Se compare [[meeting.audio_play]], premilo: il browser aspetta un tuo clic.',
        'Senti un’eco: qualcuno ascolta dagli altoparlanti con il microfono acceso. Le cuffie la eliminano.',
        'La videocamera è occupata: chiudi gli altri programmi che la usano, poi riaccendila.',
        'Due persone nella stessa stanza: una sola tenga acceso il microfono.',
      ),
    ],
  },
  {
    id: 'permissions',
    heading: 'Se il browser non permette microfono o videocamera',
    blocks: [
      text(
        'La pagina può usarli solo se tu lo consenti. Se hai scelto Blocca per sbaglio, puoi cambiare idea:',
      ),
      heading('Chrome ed Edge, su computer'),
      steps(
        'Premi l’icona a sinistra dell’indirizzo della pagina.',
        'Accendi Microfono e Videocamera.',
        'Torna alla pagina e riaccendi il dispositivo; se non basta, ricarica la pagina.',
      ),
      heading('Firefox, su computer'),
      steps(
        'Premi l’icona del microfono o della videocamera barrati, a sinistra dell’indirizzo.',
        'Elimina il blocco con la crocetta accanto al permesso.',
        'Riaccendi il dispositivo nella pagina e scegli Consenti.',
      ),
      heading('Safari, su Mac'),
      steps(
        'Apri il menu Safari e scegli Impostazioni per questo sito web.',
        'Alle voci Fotocamera e Microfono scegli Consenti.',
        'Ricarica la pagina.',
      ),
      heading('iPhone e iPad'),
      text(
        'In Safari premi il pulsante accanto all’indirizzo, poi Impostazioni sito web, e consenti fotocamera e microfono. Se usi un altro browser, apri Impostazioni, cerca il nome del browser e accendi Microfono e Fotocamera.',
      ),
      heading('Android'),
      text(
        'In Chrome premi l’icona accanto all’indirizzo, poi Autorizzazioni, e consenti fotocamera e microfono. Se non basta, apri Impostazioni, App, Chrome, Autorizzazioni.',
      ),
      heading('Permessi del sistema'),
      list(
        'Windows: Impostazioni, Privacy e sicurezza, Microfono (o Fotocamera); l’accesso delle app deve essere acceso.',
        'macOS: Impostazioni di Sistema, Privacy e sicurezza, Microfono (o Fotocamera); il browser deve essere nell’elenco e acceso.',
        'Computer dell’ente: alcune impostazioni sono decise dall’amministratore. Se non puoi cambiarle, chiedi al supporto informatico.',
      ),
    ],
  },
  {
    id: 'sharing',
    heading: 'Condividere lo schermo',
    blocks: [
      steps(
        'Premi [[controls.screen]] nella barra in basso.',
        'Nella finestra del browser scegli che cosa mostrare: tutto lo schermo, una finestra o una scheda.',
        'Per far sentire anche l’audio, scegli una scheda e accendi la voce sull’audio, dove il browser la offre.',
        'Per finire premi [[controls.screen_off]].',
      ),
      text(
        'Mostra una sola finestra quando puoi: così notifiche e documenti riservati non si vedono. I telefoni possono vedere uno schermo condiviso, ma di solito non condividerlo.',
      ),
      text(
        'Su Mac la prima volta il sistema chiede di permettere la registrazione dello schermo: Impostazioni di Sistema, Privacy e sicurezza. Poi riavvia il browser.',
      ),
    ],
  },
  {
    id: 'layouts',
    heading: 'Disposizione delle immagini',
    blocks: [
      text(
        'Le immagini si dispongono da sole: tutte uguali quando si parla, con lo schermo condiviso in grande quando qualcuno ne mostra uno. Se i partecipanti sono più dei posti, chi parla ne prende uno. Un bordo luminoso indica chi sta parlando.',
      ),
      text('L’elenco completo è sempre in [[controls.people]], anche di chi non ha un’immagine.'),
    ],
  },
  {
    id: 'connection',
    heading: 'Se audio o video vanno a scatti',
    blocks: [
      text(
        'In alto, le tacche indicano la qualità della tua connessione. Premile per leggere che cosa succede e che cosa puoi fare.',
      ),
      list(
        'Gli altri ti sentono male: spegni la videocamera. La voce ha bisogno di molta meno rete delle immagini.',
        'Tu senti male gli altri: scegli [[quality.data_saving]] oppure [[quality.data_audio]].',
        'Avvicinati al Wi-Fi o usa un cavo. Una VPN può rallentare: se le regole del tuo ufficio lo permettono, prova senza.',
        'Chiudi programmi e schede che non usi, e interrompi gli scaricamenti.',
      ),
      text(
        'Se chiedi aiuto, apri [[quality.figures]], premi [[quality.copy]] e incolla il testo nel messaggio al supporto: non contiene nomi né indirizzi.',
      ),
      text(
        'Se la connessione cade, la pagina si ricollega da sola. Non ricaricarla: di solito bastano pochi secondi.',
      ),
    ],
  },
  {
    id: 'chat',
    heading: 'Chat e testo in tempo reale',
    blocks: [
      text(
        'Nella chat scrivi a tutti oppure a una sola persona. Chi entra dopo non legge i messaggi precedenti. I moderatori possono chiudere la chat.',
      ),
      text(
        'Con il testo in tempo reale gli altri leggono ciò che scrivi lettera per lettera, mentre lo scrivi. È pensato per chi è sordo, per chi non può parlare e per chi ha il microfono guasto: la conversazione scorre come a voce.',
      ),
    ],
  },
  {
    id: 'moderators',
    heading: 'I compiti dei moderatori',
    blocks: [
      text('Chi modera può, a seconda di come è stata preparata la riunione:'),
      list(
        'far entrare o respingere chi è in sala d’attesa, e chiudere la riunione a nuovi ingressi;',
        'spegnere il microfono o la videocamera di un partecipante: nessuno può riaccenderli al suo posto;',
        'dare la parola a chi alza la mano e mettere una persona in primo piano per tutti;',
        'decidere se gli altri possono usare microfono, videocamera, condivisione e chat;',
        'nominare altri moderatori e far uscire un partecipante;',
        'chiudere la riunione per tutti: [[controls.more]], poi [[controls.end]].',
      ),
      text(
        'Se il moderatore esce, la riunione continua. Per una riunione pubblica conviene averne due.',
      ),
    ],
  },
  {
    id: 'shortcuts',
    heading: 'Usare la tastiera',
    blocks: [
      text(
        'Ogni comando si raggiunge con il tasto Tab e si attiva con Invio o Spazio; Esc chiude finestre, menu e pannelli; nei menu ci si muove con le frecce. In più, mentre non scrivi in un campo, durante la riunione funzionano questi tasti:',
      ),
      { kind: 'shortcuts' },
      text(
        'Se ti disturbano, per esempio perché usi i comandi vocali, puoi spegnerli: [[controls.more]], [[controls.shortcuts]].',
      ),
    ],
  },
  {
    id: 'phones',
    heading: 'Con il telefono',
    blocks: [
      list(
        'Apri il collegamento nel browser del telefono, non dentro un’app di posta o di messaggi: se la riunione non parte, cerca la voce che apre la pagina nel browser.',
        'Usa le cuffie e metti il telefono in carica: il video consuma batteria.',
        'Fuori dal Wi-Fi scegli [[quality.data_saving]].',
        'Se arriva una telefonata il microfono può restare occupato: dopo la chiamata spegnilo e riaccendilo.',
        'Tieni aperta la pagina: se cambi app, il telefono può spegnere la videocamera.',
      ),
    ],
  },
  {
    id: 'tour',
    heading: 'Visita guidata',
    blocks: [
      text(
        'Alla prima riunione una breve visita mostra i comandi principali. Puoi rivederla durante una riunione, da [[controls.more]], [[tour.start]], oppure chiederla da qui.',
      ),
      { kind: 'tour' },
    ],
  },
  {
    id: 'browsers',
    heading: 'Browser',
    blocks: [
      text('Usa la versione più recente del tuo browser. Ogni versione di Broletto è provata con:'),
      list(
        'Chromium, su cui si basano Chrome, Edge e molti altri;',
        'Firefox, nella versione a supporto esteso.',
      ),
      text(
        'Safari su Mac, iPhone e iPad usa gli stessi standard, ma non fa parte delle prove automatiche: se trovi un problema, segnalalo. Internet Explorer e le versioni molto vecchie non funzionano.',
      ),
      text('La pagina deve essere aperta in modo sicuro, con https.'),
    ],
  },
  {
    id: 'privacy',
    heading: 'I tuoi dati',
    blocks: [
      text(
        'Questo vale per il programma Broletto; l’ente che lo usa ne dà l’informativa completa.',
      ),
      list(
        'Audio e video passano dal server dell’ente, cifrati lungo il percorso, e non vengono registrati.',
        'Il nome che scrivi è conservato finché partecipi, poi è cancellato.',
        'I messaggi della chat restano sul server finché serve a mostrarli a chi perde per un momento la connessione, non oltre la vita della riunione, e al massimo gli ultimi 200.',
        'La riunione (codice e titolo) è cancellata dopo 30 giorni senza partecipanti, o dopo una settimana se nessuno vi è mai entrato.',
        'I registri tecnici del server non contengono nomi, indirizzi di rete o chiavi di accesso.',
        'Il tuo browser ricorda lingua, nome, dispositivi scelti, scorciatoie, risparmio dati e se hai visto la visita guidata. Nessun cookie, nessuna statistica, nessun servizio di terze parti. Per cancellare tutto, elimina i dati del sito dalle impostazioni del browser.',
      ),
      text(
        'Chi partecipa potrebbe registrare con mezzi propri: se l’argomento è riservato, chiedi a tutti di non farlo.',
      ),
    ],
  },
  {
    id: 'accessibility',
    heading: 'Accessibilità',
    blocks: [
      text(
        'Le pagine sono progettate per rispettare le WCAG 2.1, livello AA, e la norma EN 301 549. Questa non è la dichiarazione di accessibilità dell’ente: dice solo com’è fatto il programma.',
      ),
      list(
        'Tutto si usa con la sola tastiera; le scorciatoie si possono spegnere.',
        'I lettori di schermo sentono chi entra, chi esce, chi condivide e quando cambia il microfono.',
        'Le pagine si ingrandiscono al 200 %, accettano una spaziatura più larga del testo, rispettano i colori ad alto contrasto del sistema e la richiesta di meno animazioni.',
        'Nessuna informazione è affidata al solo colore.',
      ),
      heading('Che cosa manca ancora'),
      list(
        'Le pagine sono controllate con strumenti automatici a ogni modifica e provate con la sola tastiera; prove con persone che usano lettori di schermo non sono ancora state fatte.',
        'Non ci sono sottotitoli automatici. Il testo in tempo reale e un interprete in primo piano sono le alternative.',
        'Il contenuto di uno schermo condiviso è un’immagine: chi presenta dovrebbe descriverlo a voce o distribuire il documento.',
      ),
      text('Se trovi un ostacolo, segnalalo all’ente che ti ha invitato.'),
    ],
  },
];
