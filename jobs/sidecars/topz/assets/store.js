// What the browser keeps of a reader's choices; a browser may refuse to.

export function recall(name) {
  try {
    return localStorage.getItem("topz-" + name);
  } catch {
    return null;
  }
}

export function keep(name, value) {
  try {
    if (value === null) localStorage.removeItem("topz-" + name);
    else localStorage.setItem("topz-" + name, value);
  } catch {
    // The choice lasts as long as the page.
  }
}
