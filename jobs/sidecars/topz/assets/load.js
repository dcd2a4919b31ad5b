// Fetches a page of this server, already parsed and with scripts in it inert.
// The browser's older way is used because it parses by itself: what processes
// say is never put together to HTML here, and the policy forbids it.

export class Unreachable extends Error {}

export function load(url) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", url);
    request.responseType = "document";
    request.timeout = 10000;
    request.onload = () => {
      if (request.status === 200 && request.response) resolve(request.response);
      else reject(new Error(`topz answers ${request.status} ${request.statusText}`));
    };
    request.onerror = request.ontimeout = () => reject(new Unreachable());
    request.send();
  });
}
