// The log of a task: grows at its end and follows it, unless one has scrolled up to read.

const MOST = 5000;
const NEAR = 30;

function render({ model, el }) {
  const box = document.createElement("div");
  box.className = "lpn-log";
  box.tabIndex = 0;
  box.setAttribute("role", "log");
  box.setAttribute("aria-label", "Log");
  el.append(box);
  let last = 0;

  function add(text, kind = "l") {
    const line = document.createElement("div");
    line.className = kind;
    line.textContent = text;
    box.append(line);
  }

  function take() {
    const { first, lines } = model.get("tail");
    const follows = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR;
    if (lines.length && first > last + 1) add(`… lines ${last + 1} to ${first - 1} are in the whole log`, "gap");
    lines.forEach((text, n) => {
      if (first + n > last) add(text);
    });
    last = Math.max(last, first + lines.length - 1);
    while (box.childElementCount > MOST) box.firstElementChild.remove();
    box.dataset.last = last;
    if (follows) box.scrollTop = box.scrollHeight;
  }

  model.on("change:tail", take);
  take();
  requestAnimationFrame(() => (box.scrollTop = box.scrollHeight));
  return () => model.off("change:tail", take);
}

export default { render };
