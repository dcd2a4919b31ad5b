// What the browser keeps of a reader's choices; a browser may refuse to.

export function recall(name, where = "localStorage") {
  try {
    return globalThis[where].getItem("nomad-sidecar-" + name);
  } catch {
    return null;
  }
}

export function keep(name, value, where = "localStorage") {
  try {
    if (value === null) globalThis[where].removeItem("nomad-sidecar-" + name);
    else globalThis[where].setItem("nomad-sidecar-" + name, value);
  } catch {
    // The choice lasts as long as the page.
  }
}
