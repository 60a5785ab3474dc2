// The large picture in a small window of its own, which stays above other programs: a whole small page
// where the browser has Document Picture-in-Picture, else only the video.

/** https://wicg.github.io/document-picture-in-picture/, which TypeScript's types do not have yet. */
interface DocumentPictureInPicture {
  requestWindow(options: { width: number; height: number }): Promise<Window>;
}

const SIZE = { width: 400, height: 260 };

export class PictureInPicture {
  /** The small page's window, while it is open. */
  window = $state.raw<Window>();
  /** The element whose picture the browser shows by itself, while it does. */
  video = $state.raw<HTMLVideoElement>();
  size = $state.raw(SIZE);

  get open(): boolean {
    return this.window !== undefined || this.video !== undefined;
  }

  /** Called by a click or a key press, which is what browsers ask for. */
  async toggle(): Promise<void> {
    if (this.open) return this.close();
    try {
      const api = documentPictureInPicture();
      await (api ? this.#openWindow(api) : this.#openVideo());
    } catch (error) {
      console.info('picture-in-picture:', error);
    }
  }

  close(): void {
    this.window?.close();
    this.window = undefined;
    if (this.video && document.pictureInPictureElement === this.video) {
      void document.exitPictureInPicture();
    }
    this.video = undefined;
  }

  async #openWindow(api: DocumentPictureInPicture): Promise<void> {
    const opened = await api.requestWindow(SIZE);
    for (const style of document.querySelectorAll('link[rel="stylesheet"], style')) {
      opened.document.head.append(style.cloneNode(true));
    }
    opened.document.documentElement.lang = document.documentElement.lang;
    opened.document.title = document.title;
    const measure = () => {
      this.size = { width: opened.innerWidth, height: opened.innerHeight };
    };
    measure();
    opened.addEventListener('resize', measure);
    opened.addEventListener('pagehide', () => {
      if (this.window === opened) this.window = undefined;
    });
    this.window = opened;
  }

  /** `PictureInPictureVideo.svelte` plays the large picture in the element. */
  async #openVideo(): Promise<void> {
    const video = document.createElement('video');
    video.muted = true;
    video.playsInline = true;
    this.video = video;
    try {
      await new Promise<void>((resolve, reject) => {
        video.addEventListener('loadedmetadata', () => resolve(), { once: true });
        setTimeout(() => reject(new Error('there is no picture')), 2_000);
      });
      await video.requestPictureInPicture();
      video.addEventListener('leavepictureinpicture', () => this.close(), { once: true });
    } catch (error) {
      this.close();
      throw error;
    }
  }
}

export function canShowPictureInPicture(): boolean {
  return documentPictureInPicture() !== undefined || document.pictureInPictureEnabled === true;
}

function documentPictureInPicture(): DocumentPictureInPicture | undefined {
  return (window as { documentPictureInPicture?: DocumentPictureInPicture })
    .documentPictureInPicture;
}
