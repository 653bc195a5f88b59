// Runs before the first paint: the colours a person has chosen, or the system's; and the choice of a language.
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => {
    try {
      return localStorage.getItem("lorapool.theme");
    } catch {
      return null;
    }
  };
  const apply = () => {
    const dark = (chosen() ?? (system.matches ? "dark" : "light")) === "dark";
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    // Gradio keeps its own mark on the body.
    if (document.body && document.body.classList.contains("dark") !== dark) {
      document.body.classList.toggle("dark", dark);
    }
    dispatchEvent(new Event("lorapool-theme"));
  };
  apply();
  system.addEventListener("change", apply);
  addEventListener("storage", apply);
  addEventListener("DOMContentLoaded", () => {
    apply();
    // On a phone the bar is wider than the screen.
    document.querySelector(".lp-bar [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
    new MutationObserver(apply).observe(document.body, { attributeFilter: ["class"] });
  });
  addEventListener("click", (event) => {
    if (!event.target.closest?.("[data-lp-theme]")) return;
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("lorapool.theme", next);
    } catch {
      document.documentElement.dataset.theme = next;
    }
    apply();
  });
  // The server draws every page in the language that it finds in this cookie.
  addEventListener("change", (event) => {
    if (!event.target.matches?.("[data-lp-language]")) return;
    const root = document.querySelector('meta[name="lp-root"]')?.content ?? "";
    document.cookie = `lorapool_language=${event.target.value}; path=${root}/; max-age=31536000; samesite=lax`;
    // The answer to a login is asked for anew, and not sent a second time.
    if (document.querySelector(".lp-login")) location.assign(location.href);
    else location.reload();
  });
})();
