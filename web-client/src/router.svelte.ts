// From the page's address to the page: `/`, `/help` and `/r/CODE`.

export type Route =
  | { page: 'home' }
  | { page: 'help' }
  | { page: 'room'; code: string }
  | { page: 'missing' };

let path = $state(location.pathname);

window.addEventListener('popstate', () => {
  path = location.pathname;
});

export function route(): Route {
  return routeOf(path);
}

export function go(to: string): void {
  // Options for support stay in the address.
  history.pushState(null, '', to + location.search);
  path = location.pathname;
}

function routeOf(pathname: string): Route {
  if (pathname === '/' || pathname === '/index.html') return { page: 'home' };
  if (/^\/help\/?$/.test(pathname)) return { page: 'help' };
  const match = pathname.match(/^\/r\/([^/]+)\/?$/);
  return match?.[1] ? { page: 'room', code: safeDecode(match[1]) } : { page: 'missing' };
}

function safeDecode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
