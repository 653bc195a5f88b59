// What a page keeps in this browser. One that keeps nothing still works.

/** What was kept under `name`; null when nothing was, or it cannot be read. */
export function stored(name) {
  try {
    return JSON.parse(localStorage.getItem(name));
  } catch {
    return null;
  }
}

export function keep(name, value) {
  try {
    localStorage.setItem(name, JSON.stringify(value));
  } catch {
    // Private windows and full disks.
  }
}
