// Fetches from this server, and only from it.

export class Unreachable extends Error {}

// A page, already parsed and with scripts in it inert. The browser's older way is used
// because it parses by itself: what jobs are called is never put together to HTML here,
// and the policy forbids it.
export function loadPage(url) {
  return load(url, "document", (status) => status === 200 || status === 404);
}

export function loadJSON(url) {
  return load(url, "json", (status) => status === 200);
}

function load(url, type, fine) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", url);
    request.responseType = type;
    request.timeout = 10000;
    request.onload = () => {
      if (fine(request.status) && request.response) resolve(request.response);
      else reject(new Error(`nomad-sidecar answers ${request.status} ${request.statusText}`));
    };
    request.onerror = request.ontimeout = () => reject(new Unreachable());
    request.send();
  });
}
